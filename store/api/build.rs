//! Compiles the protocol files to Rust messages, without `protoc`.

use std::path::{Path, PathBuf};

const FILES: [&str; 5] = ["kv.proto", "auth.proto", "rpc.proto", "lock.proto", "election.proto"];

/// Messages that carry secrets.
const SECRETS: [&str; 5] = [
    ".authpb.User",
    ".etcdserverpb.AuthenticateRequest",
    ".etcdserverpb.AuthenticateResponse",
    ".etcdserverpb.AuthUserAddRequest",
    ".etcdserverpb.AuthUserChangePasswordRequest",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    println!("cargo::rerun-if-changed={}", dir.display());
    let files: Vec<PathBuf> = FILES.iter().map(|f| dir.join(f)).collect();
    let descriptors = protox::compile(&files, [&dir])?;
    prost_build::Config::new()
        // Every bytes field is a shared `Bytes`: cloning a value never copies it.
        .bytes(["."])
        // Written by hand in `secret.rs`, so that no password, hash or token is ever printed.
        .skip_debug(SECRETS)
        .compile_fds(descriptors)?;
    Ok(())
}
