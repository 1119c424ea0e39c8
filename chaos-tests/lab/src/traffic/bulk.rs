//! Large transfers in both directions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use clap::Args;
use serde_json::Value;

use super::{Report, Target};
use crate::echo::PATTERN;

/// A large download and a large upload, every byte checked.
#[derive(Args, Clone, Debug)]
pub struct BulkArgs {
    #[command(flatten)]
    target: Target,
    /// Bytes each way.
    #[arg(long, default_value_t = 32 << 20)]
    bytes: u64,
}

/// One download, then one upload.
#[must_use]
pub fn run(args: &BulkArgs) -> Report {
    let mut report = Report { sent: 2, ..Report::default() };
    let at = match args.target.resolve() {
        Ok(at) => at,
        Err(error) => {
            report.fail(error);
            return report;
        }
    };
    report.resolved = Some(*at.ip());
    match download(args, at) {
        Ok(bytes) => {
            report.bytes += bytes;
            report.answer("download");
        }
        Err(error) => report.fail(format!("download: {error}")),
    }
    match upload(args, at) {
        Ok(bytes) => {
            report.bytes += bytes;
            report.answer("upload");
        }
        Err(error) => report.fail(format!("upload: {error}")),
    }
    report
}

fn connect(args: &BulkArgs, at: SocketAddrV4) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at.into(), args.target.timeout())?;
    stream.set_read_timeout(Some(args.target.timeout()))?;
    stream.set_write_timeout(Some(args.target.timeout()))?;
    Ok(stream)
}

fn download(args: &BulkArgs, at: SocketAddrV4) -> std::io::Result<u64> {
    let mut stream = connect(args, at)?;
    write!(stream, "GET /bytes/{} HTTP/1.1\r\nConnection: close\r\n\r\n", args.bytes)?;
    let mut reader = BufReader::with_capacity(1 << 17, stream);
    skip_head(&mut reader)?;
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0_u64;
    loop {
        let size = reader.read(&mut buffer)?;
        if size == 0 {
            break;
        }
        for (offset, byte) in buffer[..size].iter().enumerate() {
            let expected = PATTERN[(total as usize + offset) % PATTERN.len()];
            if *byte != expected {
                return Err(std::io::Error::other(format!(
                    "byte {} differs",
                    total as usize + offset
                )));
            }
        }
        total += size as u64;
    }
    if total != args.bytes {
        return Err(std::io::Error::other(format!("{total} of {} bytes came", args.bytes)));
    }
    Ok(total)
}

fn upload(args: &BulkArgs, at: SocketAddrV4) -> std::io::Result<u64> {
    let mut stream = connect(args, at)?;
    let head =
        format!("POST / HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", args.bytes);
    stream.write_all(head.as_bytes())?;
    let chunk = PATTERN.repeat(1024);
    let mut left = args.bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        stream.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    let mut reader = BufReader::new(stream);
    skip_head(&mut reader)?;
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    let body: Value = serde_json::from_str(&body)?;
    match body["received"].as_u64() {
        Some(received) if received == args.bytes => Ok(received),
        other => Err(std::io::Error::other(format!("the server got {other:?} bytes"))),
    }
}

fn skip_head(reader: &mut impl BufRead) -> std::io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("the connection closed before the answer"));
        }
        if line.trim().is_empty() {
            return Ok(());
        }
    }
}
