//! Generates the gRPC services over the messages of `skein-store-api`, without `protoc`.

use std::path::{Path, PathBuf};

const FILES: [&str; 3] = ["rpc.proto", "lock.proto", "election.proto"];
const PACKAGES: [&str; 5] = ["etcdserverpb", "mvccpb", "authpb", "v3lockpb", "v3electionpb"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/proto");
    println!("cargo::rerun-if-changed={}", dir.display());
    let files: Vec<PathBuf> = FILES.iter().map(|f| dir.join(f)).collect();
    let descriptors = protox::compile(&files, [&dir])?;
    let builder = PACKAGES.iter().fold(tonic_prost_build::configure(), |builder, package| {
        builder.extern_path(format!(".{package}"), format!("::skein_store_api::pb::{package}"))
    });
    builder.compile_fds(descriptors)?;
    peer_services()
}

/// What members say to each other. The messages of consensus come from `skein-store-raft`.
fn peer_services() -> Result<(), Box<dyn std::error::Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    println!("cargo::rerun-if-changed={}", dir.display());
    let descriptors = protox::compile([dir.join("peer.proto")], [&dir])?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".skein.peer.v1.Message", "::skein_store_raft::Message")
        .compile_fds(descriptors)?;
    Ok(())
}
