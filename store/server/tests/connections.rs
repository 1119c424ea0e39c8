//! Peers that take connections and give nothing.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use common::{PATIENCE, Process};

fn connect(process: &Process) -> TcpStream {
    let address = process.url.strip_prefix("http://").expect("plain text");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// The beginning of the answer to one request.
fn ask_health(mut stream: TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// More silent connections than there may be: the member stays up, keeps what it writes to, says
/// so once, and serves others as soon as the silent ones are given up.
#[test]
fn silent_peers_neither_end_nor_block_a_member() {
    const FILES: u32 = 100;
    let dir = tempfile::tempdir().expect("a directory");
    let process = Process::start_with_open_files(dir.path(), FILES);
    let silent: Vec<TcpStream> = (0..FILES).map(|_| connect(&process)).collect();
    let begun = Instant::now();
    // It waits in line behind the silent ones; the first timeouts make room for it.
    let last = connect(&process);
    last.set_read_timeout(Some(3 * PATIENCE)).expect("a timeout can be set");
    let answer = ask_health(last).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() < 3 * PATIENCE);
    let logged = process.logged();
    let told = |what: &str| logged.iter().filter(|line| line.contains(what)).count();
    assert_eq!(told("as many as open files allow"), 1, "{logged:?}");
    assert_eq!(told("cannot accept"), 0, "{logged:?}");
    drop(silent);
}

#[test]
fn a_peer_that_begins_and_stops_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let process = Process::start(dir.path(), &[]);
    let mut halves = [connect(&process), connect(&process)];
    halves[1].write_all(b"PRI").expect("it listens");
    for half in &mut halves {
        let read = half.read(&mut [0; 1]);
        let over = matches!(read, Ok(0))
            || read.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock);
        assert!(over, "it is still open");
    }
}

#[test]
fn unknown_paths_are_not_found_by_any_method() {
    let dir = tempfile::tempdir().expect("a directory");
    let process = Process::start(dir.path(), &[]);
    for (method, path, status) in
        [("POST", "/v3/kv/nothing", 404), ("GET", "/nothing", 404), ("POST", "/health", 405)]
    {
        let mut stream = connect(&process);
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
    }
}
