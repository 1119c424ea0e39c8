#!/bin/sh
# Checks what building and running need, and with `test` what the tests need besides; installs it on Debian and Ubuntu
# as root, names it elsewhere.
set -eu

missing=""
need() { # need COMMAND PACKAGE
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need make make
need pkg-config pkg-config
need protoc protobuf-compiler
# Debian keeps the types that protoc itself brings (google/protobuf/*.proto) in a package that protobuf-compiler only
# recommends; elsewhere they lie beside the program.
include=$(dirname "$(dirname "$(command -v protoc || echo /usr/bin/protoc)")")/include
[ -e "$include/google/protobuf/descriptor.proto" ] || missing="$missing libprotobuf-dev"
need ip iproute2
need nft nftables
if [ "${1:-}" = test ] && ! command -v go >/dev/null 2>&1; then
    need etcd etcd-server
    need etcdctl etcd-client
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing:$missing"
        apt-get update -qq
        # shellcheck disable=SC2086 # a list of words
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    else
        echo "missing (Debian's package names):$missing" >&2
        echo "install them and run this again; as root on Debian or Ubuntu this script does it" >&2
        exit 1
    fi
fi

if ! command -v "${CARGO:-cargo}" >/dev/null 2>&1; then
    echo "Rust is missing: Skein needs 1.95 or newer, stable; rustup installs it" >&2
    exit 1
fi
