#!/bin/sh
# Every benchmark, as markdown on standard output. docs/benchmarks.md holds a run of it with the machine it ran on.
set -eu
cargo run --release -q -p skein-store-conformance --bin store-bench
cargo run --release -q -p skein-bpf-harness -- bench
target/release/skein-lab bench
