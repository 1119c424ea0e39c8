//! The cluster's name server: answers A questions from services and slices in the store, over UDP and TCP.

mod feed;
mod zone;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::Args;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use zone::{Answer, Zone};

/// How long a resolver may keep an answer: names follow within this.
const TTL_S: u32 = 1;
/// Longest UDP question we read; questions are tiny, EDNS options included.
const QUESTION_BYTES_MAX: usize = 4_096;

/// Ports looked at until one is free for UDP and TCP: the odds against the first are small already.
const PORT_TRIES_MAX: usize = 32;

/// How long an asker waits.
const ASK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// The zone as the feed keeps it.
type Shared = Arc<Mutex<Zone>>;

/// The name server's flags.
#[derive(Args, Clone, Debug)]
pub struct DnsArgs {
    /// Client URL of the store.
    #[arg(long)]
    store: String,
    /// Where to answer.
    #[arg(long, default_value = "0.0.0.0:53")]
    listen: SocketAddr,
}

/// Serves until the process is ended.
///
/// # Errors
/// The port cannot be taken.
pub fn run(args: &DnsArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the name server at `server` for the addresses of a full name.
///
/// # Errors
/// No answer in time, or none that can be read; a name that does not exist has no addresses.
pub fn ask(server: SocketAddr, name: &str) -> Result<Vec<Ipv4Addr>> {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_str(name)?, RecordType::A));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(ASK_TIMEOUT))?;
    socket.send_to(&question.to_vec()?, server)?;
    let mut buffer = [0; QUESTION_BYTES_MAX];
    let size = socket.recv(&mut buffer)?;
    let answer = Message::from_vec(&buffer[..size])?;
    let addresses = answer.answers.iter().filter_map(|record| match record.data {
        RData::A(A(ip)) => Some(ip),
        _ => None,
    });
    Ok(addresses.collect())
}

/// An address on loopback whose port is free for both protocols.
///
/// # Errors
/// None was found.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..PORT_TRIES_MAX {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let at = udp.local_addr()?;
        if std::net::TcpListener::bind(at).is_ok() {
            return Ok(at);
        }
    }
    anyhow::bail!("no port on loopback is free for UDP and TCP both")
}

async fn serve(args: &DnsArgs) -> Result<()> {
    let zone = Shared::default();
    let udp = UdpSocket::bind(args.listen).await.with_context(|| format!("udp {}", args.listen))?;
    let tcp =
        TcpListener::bind(args.listen).await.with_context(|| format!("tcp {}", args.listen))?;
    tokio::spawn(feed::follow(args.store.clone(), Arc::clone(&zone)));
    tokio::spawn(serve_tcp(tcp, Arc::clone(&zone)));
    let mut buffer = [0; QUESTION_BYTES_MAX];
    loop {
        let Ok((size, from)) = udp.recv_from(&mut buffer).await else { continue };
        if let Some(reply) = reply(&buffer[..size], &zone, true)
            && let Err(error) = udp.send_to(&reply, from).await
        {
            eprintln!("reply to {from}: {error}");
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Shared) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let zone = Arc::clone(&zone);
            tokio::spawn(async move {
                // The client may hang up at any time.
                let _ = serve_stream(stream, &zone).await;
            });
        }
    }
}

/// Messages over TCP follow their length in two bytes (RFC 1035 section 4.2.2).
async fn serve_stream(mut stream: TcpStream, zone: &Shared) -> std::io::Result<()> {
    loop {
        let size = stream.read_u16().await?;
        let mut question = vec![0; usize::from(size)];
        stream.read_exact(&mut question).await?;
        let Some(reply) = reply(&question, zone, false) else { return Ok(()) };
        stream.write_u16(u16::try_from(reply.len()).unwrap_or(u16::MAX)).await?;
        stream.write_all(&reply).await?;
    }
}

/// The reply to one message; none to what is not a question.
fn reply(bytes: &[u8], zone: &Shared, datagram: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
    let mut message = answer(&question, &zone);
    let size_max = usize::from(question.max_payload());
    let encoded = message.to_vec().ok()?;
    if datagram && encoded.len() > size_max {
        message.answers.clear();
        message.metadata.truncation = true;
        return message.to_vec().ok();
    }
    Some(encoded)
}

fn answer(question: &Message, zone: &Zone) -> Message {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.authoritative = true;
    message.add_queries(question.queries.iter().cloned());
    let code = match (&question.queries[..], question.metadata.op_code) {
        ([query], OpCode::Query) => add_answers(&mut message, query, zone),
        (_, OpCode::Query) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    message.metadata.response_code = code;
    message
}

fn add_answers(message: &mut Message, query: &Query, zone: &Zone) -> ResponseCode {
    if query.query_class() != DNSClass::IN {
        return ResponseCode::Refused;
    }
    match zone.lookup(&query.name().to_ascii()) {
        Answer::NoName => ResponseCode::NXDomain,
        Answer::NotOurs => ResponseCode::Refused,
        Answer::Addresses(addresses) => {
            if query.query_type() == RecordType::A {
                message.add_answers(addresses.into_iter().map(|ip| address(query, ip)));
            }
            ResponseCode::NoError
        }
    }
}

fn address(query: &Query, ip: Ipv4Addr) -> Record {
    Record::from_rdata(query.name().clone(), TTL_S, RData::A(A(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_store_schema::kinds::service::{Service, ServiceKey};

    fn ask(zone: Zone, name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        let zone = Arc::new(Mutex::new(zone));
        let bytes = reply(&question.to_vec().unwrap(), &zone, true).unwrap();
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!(reply.metadata.id, question.metadata.id);
        reply
    }

    fn zone() -> Zone {
        let mut zone = Zone::default();
        let key = ServiceKey { namespace: "shop".parse().unwrap(), name: "web".parse().unwrap() };
        let cluster_ips = vec!["10.96.0.20".parse().unwrap()];
        zone.service(key, Some(Service { cluster_ips, ..Service::default() }));
        zone
    }

    #[test]
    fn a_service_has_an_address_and_no_other_records() {
        let name = "web.shop.svc.cluster.local.";
        let reply = ask(zone(), name, RecordType::A);
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].data, RData::A(A::new(10, 96, 0, 20)));
        let reply = ask(zone(), name, RecordType::AAAA);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty());
    }

    #[test]
    fn unknown_and_foreign_names_get_different_codes() {
        let code = |name| ask(zone(), name, RecordType::A).metadata.response_code;
        assert_eq!(code("nobody.shop.svc.cluster.local."), ResponseCode::NXDomain);
        assert_eq!(code("example.com."), ResponseCode::Refused);
    }
}
