//! The `bpf` system call where the loading library has no way: opening pins as plain descriptors,
//! replacing the program behind a pinned link, batch operations.
//!
//! Source: `union bpf_attr` of `linux/bpf.h` (6.18); only its leading fields are passed, the kernel
//! takes the rest as zero.

use std::ffi::CString;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;
const BPF_LINK_UPDATE: libc::c_int = 29;

/// Entries of one batch call: large enough to make the call's cost vanish (4,096 entries take about
/// two milliseconds), small enough not to hold the CPU for long.
const BATCH: u32 = 4096;

#[repr(C)]
#[derive(Default)]
struct ObjGet {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    new_program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<i64> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` for this command, lives during the call, and
    // every pointer in it points to memory that its maker keeps alive and sized (see the callers).
    let rc =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if rc < 0 { Err(Error::last_os_error()) } else { Ok(rc) }
}

/// Opens a pin.
pub fn open_pin(path: &Path) -> Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| ErrorKind::InvalidInput)?;
    let mut attr = ObjGet { path: path.as_ptr() as u64, ..ObjGet::default() };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Puts another program behind a link, atomically.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = LinkUpdate {
        link: link.as_raw_fd() as u32,
        new_program: program.as_raw_fd() as u32,
        ..LinkUpdate::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Writes entries, given as concatenated keys and values.
pub fn update_batch(map: BorrowedFd<'_>, sizes: Sizes, keys: &[u8], values: &[u8]) -> Result<()> {
    let mut done = 0usize;
    let total = keys.len() / sizes.key;
    assert_eq!(values.len(), total * sizes.value, "as many values as keys");
    while done < total {
        let count = (total - done).min(BATCH as usize);
        let mut attr = MapBatch {
            keys: keys[done * sizes.key..].as_ptr() as u64,
            values: values[done * sizes.value..].as_ptr() as u64,
            count: count as u32,
            map: map.as_raw_fd() as u32,
            ..MapBatch::default()
        };
        bpf(BPF_MAP_UPDATE_BATCH, &mut attr)?;
        done += count;
    }
    Ok(())
}

/// Deletes entries; absent ones are skipped (the kernel stops a batch at one).
pub fn delete_batch(map: BorrowedFd<'_>, sizes: Sizes, keys: &[u8]) -> Result<()> {
    let mut done = 0usize;
    let total = keys.len() / sizes.key;
    while done < total {
        let count = (total - done).min(BATCH as usize);
        let mut attr = MapBatch {
            keys: keys[done * sizes.key..].as_ptr() as u64,
            count: count as u32,
            map: map.as_raw_fd() as u32,
            ..MapBatch::default()
        };
        match bpf(BPF_MAP_DELETE_BATCH, &mut attr) {
            Ok(_) => done += count,
            Err(error) if error.kind() == ErrorKind::NotFound => done += attr.count as usize + 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sizes of a map's entries in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Key.
    pub key: usize,
    /// Value; for per-CPU maps of one CPU's.
    pub value: usize,
}

/// Every entry of a map that is not per CPU. Entries that come or go meanwhile may be missed.
pub fn dump(map: BorrowedFd<'_>, sizes: Sizes) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut entries = Vec::new();
    let mut keys = vec![0u8; BATCH as usize * sizes.key];
    let mut values = vec![0u8; BATCH as usize * sizes.value];
    // A position is a bucket number for hashes and a key for tries: never longer than this.
    let mut position = vec![0u8; sizes.key.max(8)];
    let mut next = position.clone();
    let mut batch = BATCH;
    let mut first = true;
    loop {
        let mut attr = MapBatch {
            in_batch: if first { 0 } else { position.as_ptr() as u64 },
            out_batch: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: batch,
            map: map.as_raw_fd() as u32,
            ..MapBatch::default()
        };
        let outcome = bpf(BPF_MAP_LOOKUP_BATCH, &mut attr);
        let is_last = match outcome {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            // A bucket holds more entries than the batch: nothing was copied, try with more room.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                batch *= 2;
                keys.resize(batch as usize * sizes.key, 0);
                values.resize(batch as usize * sizes.value, 0);
                continue;
            }
            Err(error) => return Err(error),
        };
        for i in 0..attr.count as usize {
            let key = keys[i * sizes.key..(i + 1) * sizes.key].to_vec();
            entries.push((key, values[i * sizes.value..(i + 1) * sizes.value].to_vec()));
        }
        if is_last {
            return Ok(entries);
        }
        std::mem::swap(&mut position, &mut next);
        first = false;
    }
}

/// One entry of a per-CPU array: the values of all possible CPUs, each rounded up to eight bytes.
pub fn lookup_per_cpu(
    map: BorrowedFd<'_>,
    index: u32,
    value_size: usize,
    cpus: usize,
) -> Result<Vec<Vec<u8>>> {
    let stride = value_size.next_multiple_of(8);
    let mut values = vec![0u8; stride * cpus];
    let mut attr = MapElement {
        map: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(&index) as u64,
        value: values.as_mut_ptr() as u64,
        ..MapElement::default()
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attr)?;
    Ok(values.chunks(stride).map(|chunk| chunk[..value_size].to_vec()).collect())
}
