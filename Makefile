# Verbs only; each is a line or two that calls cargo, xtask or the lab.
#   make demo                      a cluster on this machine, shown and removed again
#   make demo MANIFESTS=dir        the same with your own Kubernetes YAML
#   make demo KEEP=1               left up; `target/release/skein-lab down` removes it
#   make test                      everything that can run here
CARGO ?= cargo
LAB = target/release/skein-lab
BINARIES = -p skein-store-server -p skein-controlplane-server -p skein-nodeagent-agent \
           -p skein-nodeagent-cni -p skein-controlplane-cli -p skein-chaos-lab

.PHONY: deps build bpf test demo bench bench-store bench-backup clean
build: deps
	$(CARGO) build --release --bins $(BINARIES)

deps:
	@deploy/deps.sh

bpf: deps
	$(CARGO) run --release -p skein-xtask -- bpf build

demo: build
	$(LAB) demo $(if $(MANIFESTS),--manifests "$(MANIFESTS)") $(if $(KEEP),--keep)

test: build
	@deploy/deps.sh test
	deploy/test.sh

bench: build
	deploy/bench.sh

bench-store: build
	$(CARGO) run --release -q -p skein-store-conformance --bin store-bench

bench-backup: build
	$(CARGO) run --release -q -p skein-store-conformance --bin backup-bench

clean:
	$(CARGO) clean
