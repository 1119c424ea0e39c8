//! The maps as a port: what the engine needs of them, whether they are in the kernel or in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_bpf_abi::MapSpec;
use skein_bpf_abi::maps;
use skein_nodeagent_core::lb::{Plan, Tables};
use skein_nodeagent_core::mirror::{Changes, Mirror};

use crate::convert::{self, Layout};

/// A map operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The map is full.
    #[error("map {map} is full ({capacity} entries)")]
    Full { map: &'static str, capacity: u32 },
    /// Anything else the kernel says.
    #[error("cannot {what} map {map}")]
    Io {
        what: &'static str,
        map: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// An entry of another size than the layout says.
    #[error("map {map} holds entries of another layout")]
    Layout { map: &'static str },
}

/// Raw bytes of an entry.
pub type RawEntry = (Vec<u8>, Vec<u8>);

/// Maps by their layout. Every call does the whole list or fails; what was done before the failure
/// stays done, so the caller reads the map again.
pub trait Maps: Send + Sync {
    /// Every entry.
    fn dump(&self, map: &'static MapSpec) -> Result<Vec<RawEntry>, MapError>;
    /// Writes entries, given as concatenated keys and values.
    fn write(&self, map: &'static MapSpec, keys: &[u8], values: &[u8]) -> Result<(), MapError>;
    /// Deletes entries; absent ones are fine.
    fn delete(&self, map: &'static MapSpec, keys: &[u8]) -> Result<(), MapError>;
    /// Bound of the map, in entries.
    fn capacity(&self, map: &'static MapSpec) -> u32;
    /// Counters summed over CPUs, by index.
    fn counters(&self) -> Result<Vec<maps::metrics::Metric>, MapError>;
}

/// Shared by the engine, the dumps and the metrics.
pub type SharedMaps = Arc<dyn Maps>;

/// Writes typed entries.
pub fn write<L: Layout>(maps: &dyn Maps, entries: &[(L::Key, L::Value)]) -> Result<(), MapError> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut keys = Vec::with_capacity(entries.len() * L::SPEC.key_size as usize);
    let mut values = Vec::with_capacity(entries.len() * L::SPEC.value_size as usize);
    for (key, value) in entries {
        L::encode_key(key, &mut keys);
        L::encode_value(value, &mut values);
    }
    maps.write(L::SPEC, &keys, &values)
}

/// Deletes typed keys.
pub fn delete<L: Layout>(maps: &dyn Maps, deleted: &[L::Key]) -> Result<(), MapError> {
    if deleted.is_empty() {
        return Ok(());
    }
    let mut keys = Vec::with_capacity(deleted.len() * L::SPEC.key_size as usize);
    deleted.iter().for_each(|key| L::encode_key(key, &mut keys));
    maps.delete(L::SPEC, &keys)
}

/// Entries with their meaning.
type Entries<L> = Vec<(<L as Layout>::Key, <L as Layout>::Value)>;

/// Reads a whole map. Entries that mean nothing to this build are left out.
pub fn read<L: Layout>(maps: &dyn Maps) -> Result<Entries<L>, MapError> {
    let decode = |(key, value): RawEntry| Some((L::decode_key(&key)?, L::decode_value(&value)?));
    Ok(maps.dump(L::SPEC)?.into_iter().filter_map(decode).collect())
}

/// Loads what a map holds into its mirror.
pub fn load<L: Layout>(
    maps: &dyn Maps,
    mirror: &mut Mirror<L::Key, L::Value>,
) -> Result<(), MapError>
where
    L::Key: Ord + Clone,
    L::Value: PartialEq + Clone,
{
    let actual: BTreeMap<_, _> = read::<L>(maps)?.into_iter().collect();
    mirror.load(actual);
    Ok(())
}

/// Makes a map equal to what its mirror wants; returns how many entries changed.
pub fn apply<L: Layout>(
    maps: &dyn Maps,
    mirror: &mut Mirror<L::Key, L::Value>,
    complete: bool,
) -> Result<usize, MapError>
where
    L::Key: Ord + Clone,
    L::Value: PartialEq + Clone,
{
    let changes: Changes<_, _> = mirror.plan(complete);
    let outcome =
        write::<L>(maps, &changes.upserts).and_then(|()| delete::<L>(maps, &changes.deletes));
    if let Err(error) = outcome {
        load::<L>(maps, mirror)?;
        return Err(error);
    }
    mirror.commit(&changes);
    Ok(changes.upserts.len() + changes.deletes.len())
}

/// What the service maps hold.
pub fn read_services(maps: &dyn Maps) -> Result<Tables, MapError> {
    Ok(Tables::new(
        read::<convert::Frontends>(maps)?,
        read::<convert::Slots>(maps)?,
        read::<convert::Backends>(maps)?,
    ))
}

/// Carries a plan of the service tables out, stage after stage.
pub fn carry_out(maps: &dyn Maps, plan: &Plan) -> Result<(), MapError> {
    write::<convert::Backends>(maps, &plan.write_backends)?;
    write::<convert::Slots>(maps, &plan.write_slots)?;
    write::<convert::Frontends>(maps, &plan.write_frontends)?;
    delete::<convert::Frontends>(maps, &plan.delete_frontends)?;
    delete::<convert::Slots>(maps, &plan.delete_slots)?;
    delete::<convert::Backends>(maps, &plan.delete_backends)
}

/// Entries over capacity of the maps that the agent fills.
pub fn pressure(maps: &dyn Maps, sizes: &[(&'static MapSpec, usize)]) -> BTreeMap<String, f64> {
    let share = |(spec, used): &(&'static MapSpec, usize)| {
        let capacity = maps.capacity(spec).max(1);
        (spec.name.to_owned(), *used as f64 / f64::from(capacity))
    };
    sizes.iter().map(share).collect()
}
