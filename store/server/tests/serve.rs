//! Requests, leases, HTTP and TLS of a running member.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{PATIENCE, Process, channel, everything, get, kv, put, start};
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_rpc::api_error;
use skein_store_rpc::etcdserverpb::auth_client::AuthClient;
use skein_store_rpc::etcdserverpb::cluster_client::ClusterClient;
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use skein_store_server::{ListenUrl, Member, MemberConfig, TlsConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_a_full_header() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let open = channel(&member).await;
    let mut kv = KvClient::new(open.clone());
    let headers = [
        kv.put(put("k", "v")).await.expect("put").into_inner().header,
        kv.range(get("k")).await.expect("range").into_inner().header,
        kv.txn(TxnRequest::default()).await.expect("txn").into_inner().header,
        kv.delete_range(DeleteRangeRequest { key: "k".into(), ..Default::default() })
            .await
            .expect("delete")
            .into_inner()
            .header,
        LeaseClient::new(open.clone())
            .lease_leases(LeaseLeasesRequest {})
            .await
            .expect("leases")
            .into_inner()
            .header,
        MaintenanceClient::new(open)
            .status(StatusRequest {})
            .await
            .expect("status")
            .into_inner()
            .header,
    ];
    for header in headers {
        let header = header.expect("a header");
        assert_eq!(header.cluster_id, member.cluster_id());
        assert_eq!(header.member_id, member.member_id());
        assert!(header.revision >= 2 && header.raft_term >= 1);
    }
    let asked = MemberListRequest { linearizable: true };
    let members = ClusterClient::new(channel(&member).await).member_list(asked).await;
    let header = members.expect("members").into_inner().header.expect("a header");
    assert_eq!((header.cluster_id, header.revision), (member.cluster_id(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_etcds() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut kv = kv(&member).await;
    let large = kv.put(put("k", &"v".repeat(1_600_000))).await.expect_err("too large");
    assert_eq!(api_error(&large), Some(ApiError::RequestTooLarge));
    kv.put(put("k", &"v".repeat(1_500_000))).await.expect("just fits");
    let ops = |count| TxnRequest {
        success: (0..count)
            .map(|i| RequestOp {
                request: Some(request_op::Request::RequestPut(put(&format!("k{i}"), "v"))),
            })
            .collect(),
        ..Default::default()
    };
    let many = kv.txn(ops(129)).await.expect_err("too many");
    assert_eq!(api_error(&many), Some(ApiError::TooManyOps));
    kv.txn(ops(128)).await.expect("as many as allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_range_comes_whole_and_in_pieces() {
    const KEYS: usize = 3_000;
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut kv = kv(&member).await.max_decoding_message_size(64 << 20);
    for from in (0..KEYS).step_by(100) {
        let success = (from..from + 100).map(|i| RequestOp {
            request: Some(request_op::Request::RequestPut(put(
                &format!("{i:05}"),
                &"v".repeat(1000),
            ))),
        });
        let txn = TxnRequest { success: success.collect(), ..Default::default() };
        kv.txn(txn).await.expect("a transaction");
    }
    let whole = kv.range(everything()).await.expect("a range").into_inner();
    assert_eq!((whole.kvs.len(), whole.count), (KEYS, KEYS as i64));
    let mut stream = kv.range_stream(everything()).await.expect("a stream").into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.next().await {
        pieces.push(piece.expect("a piece").range_response.expect("a response"));
    }
    assert!(pieces.len() > 1);
    let last = pieces.last().expect("a piece");
    assert_eq!((last.count, last.more), (KEYS as i64, false));
    assert_eq!(last.header.as_ref().map(|h| h.cluster_id), Some(member.cluster_id()));
    let joined: Vec<_> = pieces.into_iter().flat_map(|piece| piece.kvs).collect();
    assert_eq!(joined, whole.kvs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_expires_in_time_and_never_early() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut leases = LeaseClient::new(channel(&member).await);
    let mut kv = kv(&member).await;
    let begun = Instant::now();
    let granted = leases.lease_grant(LeaseGrantRequest { ttl: 1, id: 0 }).await.expect("a lease");
    let granted = granted.into_inner();
    assert_eq!(granted.ttl, 2, "raised to what outlives an election");
    kv.put(PutRequest { lease: granted.id, ..put("k", "v") }).await.expect("a put");
    loop {
        let found = kv.range(get("k")).await.expect("a range").into_inner().count;
        let age = begun.elapsed();
        if found == 0 {
            assert!(age >= Duration::from_secs(2), "expired after {age:?}");
            break;
        }
        assert!(age < PATIENCE, "never expired");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gone = leases.lease_revoke(LeaseRevokeRequest { id: granted.id }).await;
    assert_eq!(api_error(&gone.expect_err("it is gone")), Some(ApiError::LeaseNotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_keep_alive_and_unknown_leases_have_no_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut leases = LeaseClient::new(channel(&member).await);
    leases.lease_grant(LeaseGrantRequest { ttl: 2, id: 5 }).await.expect("a lease");
    let (asks, asked) = tokio::sync::mpsc::channel(4);
    let mut answers =
        leases.lease_keep_alive(ReceiverStream::new(asked)).await.expect("a stream").into_inner();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        asks.send(LeaseKeepAliveRequest { id: 5 }).await.expect("open");
        let answer = answers.next().await.expect("open").expect("an answer");
        assert_eq!((answer.id, answer.ttl), (5, 2));
    }
    asks.send(LeaseKeepAliveRequest { id: 6 }).await.expect("open");
    assert_eq!(answers.next().await.expect("open").expect("an answer").ttl, 0);
    let asked = LeaseTimeToLiveRequest { id: 6, keys: false };
    let unknown = leases.lease_time_to_live(asked).await.expect("an answer").into_inner();
    assert_eq!(unknown.ttl, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_refused_in_etcds_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let open = channel(&member).await;
    let mut auth = AuthClient::new(open.clone());
    let asked = AuthenticateRequest { name: "a".into(), password: "b".into() };
    let refused = auth.authenticate(asked).await.expect_err("there are no users");
    assert_eq!(api_error(&refused), Some(ApiError::AuthNotEnabled));
    let status = auth.auth_status(AuthStatusRequest {}).await.expect("a status").into_inner();
    assert!(!status.enabled);
    let mut cluster = ClusterClient::new(open);
    let refused = cluster.member_remove(MemberRemoveRequest { id: 1 }).await;
    assert_eq!(api_error(&refused.expect_err("unknown")), Some(ApiError::MemberNotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_revisions_are_dropped_by_count() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut kv = kv(&member).await;
    for i in 0..20 {
        kv.put(put("k", &i.to_string())).await.expect("a put");
    }
    kv.compact(CompactionRequest { revision: 15, physical: true }).await.expect("compacts");
    let old = kv.range(RangeRequest { revision: 14, ..get("k") }).await.expect_err("compacted");
    assert_eq!(api_error(&old), Some(ApiError::Compacted));
    let at = kv.range(RangeRequest { revision: 15, ..get("k") }).await.expect("kept");
    assert_eq!(at.into_inner().count, 1);
    let future = kv.range(RangeRequest { revision: 99, ..get("k") }).await.expect_err("future");
    assert_eq!(api_error(&future), Some(ApiError::FutureRevision));
}

async fn http(member: &Member, path: &str) -> (u16, String) {
    let mut stream =
        tokio::net::TcpStream::connect(member.client_addresses()[0]).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (code, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn http_endpoints_share_the_client_port() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    kv(&member).await.put(put("k", "v")).await.expect("a put");
    assert_eq!(http(&member, "/health").await, (200, r#"{"health":"true","reason":""}"#.into()));
    assert_eq!(http(&member, "/livez").await, (200, "ok\n".into()));
    let (code, text) = http(&member, "/readyz?verbose").await;
    assert!(code == 200 && text.contains("[+]linearizable_read ok"), "{text}");
    let (code, text) = http(&member, "/version").await;
    assert!(code == 200 && text.contains("etcdserver"), "{text}");
    let (code, text) = http(&member, "/metrics").await;
    assert_eq!(code, 200);
    for name in [
        "etcd_server_has_leader 1",
        "etcd_mvcc_put_total 1",
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_debugging_mvcc_keys_total 1",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(name), "{name} is missing");
    }
    assert_eq!(http(&member, "/nowhere").await.0, 404);
}

/// One authority, a server certificate for 127.0.0.1 and a client certificate, as files.
struct Certificates {
    authority: String,
    client: (String, String),
    config: TlsConfig,
}

fn certificates(dir: &Path) -> Certificates {
    let key = || rcgen::KeyPair::generate().expect("a key");
    let authority_key = key();
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let issue = |name: &str| {
        let key = key();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    let server = issue("127.0.0.1");
    Certificates {
        client: issue("client"),
        config: TlsConfig {
            cert_file: write("server.pem", &server.0),
            key_file: write("server.key", &server.1),
            trusted_ca_file: Some(write("ca.pem", &authority)),
        },
        authority,
    }
}

async fn connect(url: &str, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(url.to_owned())?.tls_config(tls)?.connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_those_with_a_client_certificate_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = certificates(dir.path());
    let config = MemberConfig {
        listen_client_urls: vec![ListenUrl { tls: true, ..ListenUrl::loopback() }],
        tls: Some(files.config.clone()),
        ..MemberConfig::new("m", dir.path().join("data"))
    };
    let member = Member::start(config).await.expect("the member starts");
    let url = member.client_urls().remove(0);
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&files.authority));
    let (certificate, key) = &files.client;
    let known = trust.clone().identity(Identity::from_pem(certificate, key));
    let mut kv = KvClient::new(connect(&url, known).await.expect("a known client"));
    kv.put(put("k", "v")).await.expect("a put");

    // With TLS 1.3 the refusal may come only with the first request.
    let refused = match connect(&url, trust).await {
        Err(_) => true,
        Ok(channel) => KvClient::new(channel).range(get("k")).await.is_err(),
    };
    assert!(refused, "a client without a certificate was served");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_serves_tls_by_etcds_flags() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = certificates(dir.path());
    let flag = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let authorities = files.config.trusted_ca_file.clone().expect("written");
    let process = Process::start(
        &dir.path().join("data"),
        &[
            "--listen-metrics-urls=http://127.0.0.1:0",
            "--cert-file",
            &flag(&files.config.cert_file),
            "--key-file",
            &flag(&files.config.key_file),
            "--client-cert-auth",
            "--trusted-ca-file",
            &flag(&authorities),
        ],
    );
    // The client address is plain text here: certificates alone do not turn TLS on.
    assert!(process.url.starts_with("http://"));
    let mut kv = KvClient::new(process.channel().await);
    kv.put(put("k", "v")).await.expect("a put");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_cannot_work_stop_the_process_with_a_message() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, text) = Process::refuse(dir.path(), &["--initial-cluster", "a=http://x,b=http://y"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("does not name this member"), "{text}");
    let (code, text) = Process::refuse(dir.path(), &["--discovery", "http://x"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--discovery"), "{text}");
}
