#!/bin/sh
# Every benchmark, as markdown on standard output. docs/benchmarks.md holds a run of it with the machine it ran on.
set -eu
target/release/skein-lab bench
