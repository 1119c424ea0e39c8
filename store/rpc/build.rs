//! Generates the gRPC services over the messages of `skein-store-api`, without `protoc`.

use std::path::{Path, PathBuf};

use prost_types::FileDescriptorProto;
use prost_types::field_descriptor_proto::Type;
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::prost_types;

const FILES: [&str; 4] = [RECORDS_FILE, "rpc.proto", "lock.proto", "election.proto"];
const PACKAGES: [&str; 5] = ["etcdserverpb", "mvccpb", "authpb", "v3lockpb", "v3electionpb"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/proto");
    println!("cargo::rerun-if-changed={}", dir.display());
    let files: Vec<PathBuf> = FILES.iter().map(|f| dir.join(f)).collect();
    let mut descriptors = protox::compile(&files, [&dir])?;
    let builder = PACKAGES.iter().fold(tonic_prost_build::configure(), |builder, package| {
        builder.extern_path(format!(".{package}"), format!("::skein_store_api::pb::{package}"))
    });
    builder.compile_fds(descriptors.clone())?;
    descriptors.file.iter_mut().for_each(spell_out_records);
    let out = Path::new(&std::env::var("OUT_DIR")?).join("json.descriptors");
    std::fs::write(out, descriptors.encode_to_vec())?;
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

/// Where records are declared.
const RECORDS_FILE: &str = "kv.proto";

/// Fields that our messages carry encoded (`skein_store_api`), and what is in them.
const RECORDS: [(&str, &str, &str); 7] = [
    ("RangeResponse", "kvs", ".mvccpb.KeyValue"),
    ("PutResponse", "prev_kv", ".mvccpb.KeyValue"),
    ("DeleteRangeResponse", "prev_kvs", ".mvccpb.KeyValue"),
    ("WatchResponse", "events", ".mvccpb.Event"),
    ("LeaderResponse", "kv", ".mvccpb.KeyValue"),
    ("Event", "kv", ".mvccpb.KeyValue"),
    ("Event", "prev_kv", ".mvccpb.KeyValue"),
];

/// Gives those fields the types that etcd declares, which are the same bytes on the wire.
fn spell_out_records(file: &mut FileDescriptorProto) {
    let own = file.name() == RECORDS_FILE;
    if !own && !file.dependency.iter().any(|name| name == RECORDS_FILE) {
        file.dependency.push(RECORDS_FILE.to_owned());
    }
    for message in &mut file.message_type {
        for (of, name, kind) in RECORDS {
            if message.name() != of {
                continue;
            }
            for field in message.field.iter_mut().filter(|field| field.name() == name) {
                field.set_type(Type::Message);
                field.type_name = Some(kind.to_owned());
            }
        }
    }
}
