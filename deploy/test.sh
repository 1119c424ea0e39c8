#!/bin/sh
# Every test that can run here, then the list of what was left out, then one line with the sum.
set -u
lab=target/release/skein-lab
log=target/test.log
: >"$log"
failed=0

run() { # run NAME COMMAND...: shows the output, keeps it for the sum, remembers a failure
    name=$1
    shift
    echo "== $name"
    { "$@" 2>&1; echo "exit status of $name: $?" >>"$log"; } | tee -a "$log"
    grep -q "^exit status of $name: 0$" "$log" || failed=$((failed + 1))
}

missing=$("$lab" check) && export SKEIN_PRIVILEGED=1
# Real etcd and its tools come from the Go module proxy. Without Go, the session's tests use Skein's own store and the
# others Debian's etcd, which deps.sh has installed.
if command -v go >/dev/null 2>&1; then
    export SKEIN_REQUIRE_PEERS=1
    run "peers" chaos-tests/peers/build.sh
else
    export SKEIN_TEST_STORE="$PWD/target/release/skein-store"
fi

run "cargo test" cargo test --workspace --no-fail-fast
run "datapath logic" cargo test --manifest-path bpf/Cargo.toml -p skein-bpf-logic -p skein-bpf-abi \
    --features skein-bpf-logic/testing,skein-bpf-abi/user
run "bpf check" cargo run -q -p skein-xtask -- bpf check
run "tidy" cargo run -q -p skein-xtask -- tidy
if [ "${SKEIN_PRIVILEGED:-}" = 1 ]; then
    run "end to end" "$lab" e2e
    echo "left out: nothing"
else
    echo "left out, because this is missing here:"
    echo "$missing" | sed 's/^/  - /'
    echo "  = the end-to-end tests (skein-lab e2e)"
    echo "  = packet fixtures in the kernel (bpf/harness)"
    echo "  = the agent's tests in network namespaces (nodeagent/agent)"
fi

# Only a suite that failed without counting a failed test adds to the sum by itself.
awk -v suites="$failed" '
    /^test result:/ { for (i = 1; i < NF; i++) {
        if ($(i + 1) ~ /^passed/) passed += $i
        if ($(i + 1) ~ /^failed/) failed += $i } }
    END { if (suites > failed) failed = suites
          printf "%d passed, %d failed\n", passed, failed
          exit failed > 0 }' "$log"
