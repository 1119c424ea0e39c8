#!/bin/sh
# Builds etcd, etcdctl, etcdutl and etcd's benchmark, at the version go.mod names, and the Go client
# that is tried on both stores, into the given directory (default: target/peers). Does nothing when
# they were built from this very go.mod and source.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../target/peers}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here"
build() { GOFLAGS=-mod=readonly go build -trimpath -ldflags '-s -w' -o "$out/$1" "$2"; }
if [ ! -x "$out/goclient" ] || [ -n "$(find go.mod goclient -newer "$out/goclient")" ]; then
    build goclient ./goclient
fi
if cmp -s go.mod "$out/go.mod" && [ -x "$out/benchmark" ]; then exit 0; fi
build etcd go.etcd.io/etcd/server/v3
build etcdctl go.etcd.io/etcd/etcdctl/v3
build etcdutl go.etcd.io/etcd/etcdutl/v3
build benchmark go.etcd.io/etcd/v3/tools/benchmark
cp go.mod "$out/go.mod"
