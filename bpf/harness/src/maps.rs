//! Map access by bytes, and many entries in one syscall.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Map, MapData};

/// `BPF_MAP_UPDATE_BATCH` of `linux/bpf.h`.
const MAP_UPDATE_BATCH: libc::c_long = 26;
/// `BPF_MAP_LOOKUP_ELEM` of `linux/bpf.h`.
const MAP_LOOKUP: libc::c_long = 1;
/// `BPF_MAP_UPDATE_ELEM` of `linux/bpf.h`.
const MAP_UPDATE: libc::c_long = 2;
/// `BPF_MAP_DELETE_ELEM` of `linux/bpf.h`.
const MAP_DELETE: libc::c_long = 3;
/// `BPF_MAP_GET_NEXT_KEY` of `linux/bpf.h`.
const MAP_NEXT_KEY: libc::c_long = 4;

/// `union bpf_attr`, the part for single elements.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr`, the part for batches.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> std::io::Result<()> {
    // SAFETY: the attribute is a valid part of `union bpf_attr`, its size is given, and the memory
    // that its fields point to outlives the call (callers hold the slices).
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// The map of this name, whatever its type.
pub(crate) fn data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    Ok(match ebpf.map(name).with_context(|| format!("map {name} is not in the object"))? {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => data,
        _ => bail!("map {name} has an unexpected type"),
    })
}

fn fd(ebpf: &Ebpf, name: &str) -> Result<u32> {
    Ok(data(ebpf, name)?.fd().as_fd().as_raw_fd().cast_unsigned())
}

/// Writes all entries; key and value are the layouts' bytes.
pub(crate) fn update_batch<const K: usize, const V: usize>(
    ebpf: &Ebpf,
    name: &str,
    entries: &[([u8; K], [u8; V])],
) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let keys: Vec<u8> = entries.iter().flat_map(|(key, _)| *key).collect();
    let values: Vec<u8> = entries.iter().flat_map(|(_, value)| *value).collect();
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(entries.len())?,
        map_fd: fd(ebpf, name)?,
        ..BatchAttr::default()
    };
    bpf(MAP_UPDATE_BATCH, &mut attr).with_context(|| format!("filling map {name}"))
}

/// Writes one entry.
pub(crate) fn update(ebpf: &Ebpf, name: &str, key: &[u8], value: &[u8]) -> Result<()> {
    let mut attr = ElementAttr {
        map_fd: fd(ebpf, name)?,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        ..ElementAttr::default()
    };
    bpf(MAP_UPDATE, &mut attr).with_context(|| format!("writing map {name}"))
}

/// Reads one entry into `value`; false if it is not there.
pub(crate) fn lookup(ebpf: &Ebpf, name: &str, key: &[u8], value: &mut [u8]) -> Result<bool> {
    let mut attr = ElementAttr {
        map_fd: fd(ebpf, name)?,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..ElementAttr::default()
    };
    match bpf(MAP_LOOKUP, &mut attr) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("reading map {name}")),
    }
}

/// Deletes one entry; one that is not there is no error.
pub(crate) fn delete(ebpf: &Ebpf, name: &str, key: &[u8]) -> Result<()> {
    let mut attr =
        ElementAttr { map_fd: fd(ebpf, name)?, key: key.as_ptr() as u64, ..ElementAttr::default() };
    match bpf(MAP_DELETE, &mut attr) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("deleting from map {name}")),
    }
}

/// Makes a hash hold exactly these entries.
pub(crate) fn replace<const K: usize, const V: usize>(
    ebpf: &Ebpf,
    name: &str,
    wanted: &[([u8; K], [u8; V])],
) -> Result<()> {
    let keys: HashSet<_> = wanted.iter().map(|(key, _)| *key).collect();
    for (key, _) in entries::<K, V>(ebpf, name)? {
        if !keys.contains(&key) {
            delete(ebpf, name, &key)?;
        }
    }
    update_batch(ebpf, name, wanted)
}

/// All entries of a hash.
pub(crate) fn entries<const K: usize, const V: usize>(
    ebpf: &Ebpf,
    name: &str,
) -> Result<Vec<([u8; K], [u8; V])>> {
    let mut found = Vec::new();
    let mut key: Option<[u8; K]> = None;
    loop {
        let mut next = [0; K];
        let mut attr = ElementAttr {
            map_fd: fd(ebpf, name)?,
            key: key.as_ref().map_or(0, |key| key.as_ptr() as u64),
            value: next.as_mut_ptr() as u64,
            ..ElementAttr::default()
        };
        match bpf(MAP_NEXT_KEY, &mut attr) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error).with_context(|| format!("walking map {name}")),
        }
        let mut value = [0; V];
        if lookup(ebpf, name, &next, &mut value)? {
            found.push((next, value));
        }
        key = Some(next);
    }
}
