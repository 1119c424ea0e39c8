//! What the agent keeps of the store on its own disk, to go on from a revision after a restart.
//!
//! ```text
//! offset  size  field
//!      0     8  magic "SKEINCKP"
//!      8     4  format version, little endian (1)
//!     12     8  cluster id of the store
//!     20     8  revision of the contents
//!     28     8  hash of the watched ranges (other ranges: the contents do not serve)
//!     36     4  next service id        40   4  next backend id
//!     44     4  number of entries
//!     48     …  entries: key length u32, key, value length u32, value, mod_revision u64
//!    end     4  CRC-32C of everything before it
//! ```

/// First bytes of the file.
pub const MAGIC: &[u8; 8] = b"SKEINCKP";
/// Format this build writes and reads.
pub const VERSION: u32 = 1;
const HEADER_LEN: usize = 48;
/// A single key or value longer than this is not ours: etcd refuses requests over 1.5 MiB.
const FIELD_LEN_MAX: usize = 2 << 20;

/// Contents of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The store's cluster id.
    pub cluster_id: u64,
    /// Revision the entries were read at.
    pub revision: i64,
    /// [`ranges_hash`] of the ranges that were watched.
    pub ranges: u64,
    /// High-water mark of service ids.
    pub next_service_id: u32,
    /// High-water mark of backend ids.
    pub next_backend_id: u32,
    /// Every key of the ranges.
    pub entries: Vec<Entry>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
    /// Revision of its last change.
    pub mod_revision: i64,
}

/// Why a checkpoint was not used. Each is harmless: the agent lists the store instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a checkpoint at all.
    #[error("no checkpoint: wrong magic")]
    Magic,
    /// Written by another version.
    #[error("checkpoint format {found}, this build reads format {VERSION}")]
    Version { found: u32 },
    /// Truncated or changed.
    #[error("checkpoint damaged: {0}")]
    Damaged(&'static str),
}

/// Identifies a set of watched ranges, whatever their order.
pub fn ranges_hash<'a>(ranges: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut sorted: Vec<&str> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let text = sorted.join("\n");
    let low = crc32c::crc32c(text.as_bytes());
    let high = crc32c::crc32c_append(low, b"ranges");
    (u64::from(high) << 32) | u64::from(low)
}

impl Checkpoint {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(|| {
            self.entries.iter().map(|e| (e.key.as_slice(), e.value.as_slice(), e.mod_revision))
        })
    }

    /// The bytes of a file with this head and entries that live elsewhere, which are not copied but
    /// once. `entries` is called twice and must give the same.
    pub fn encode_with<'a, I>(&self, entries: impl Fn() -> I) -> Vec<u8>
    where
        I: Iterator<Item = (&'a [u8], &'a [u8], i64)>,
    {
        let (mut count, mut body) = (0u32, 0);
        for (key, value, _) in entries() {
            count += 1;
            body += key.len() + value.len() + 16;
        }
        let mut out = Vec::with_capacity(HEADER_LEN + body + 4);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.cluster_id.to_le_bytes());
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&self.ranges.to_le_bytes());
        out.extend_from_slice(&self.next_service_id.to_le_bytes());
        out.extend_from_slice(&self.next_backend_id.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        for (key, value, mod_revision) in entries() {
            out.extend_from_slice(&(key.len() as u32).to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
            out.extend_from_slice(&mod_revision.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a file.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        if bytes.get(..8) != Some(MAGIC.as_slice()) {
            return Err(CheckpointError::Magic);
        }
        let mut reader = Reader { bytes, at: 8 };
        let version = reader.u32()?;
        if version != VERSION {
            return Err(CheckpointError::Version { found: version });
        }
        let end = bytes.len().checked_sub(4).ok_or(CheckpointError::Damaged("too short"))?;
        let (content, crc) = bytes.split_at(end);
        if crc != crc32c::crc32c(content).to_le_bytes() {
            return Err(CheckpointError::Damaged("checksum differs"));
        }
        reader.bytes = content;
        let mut checkpoint = Checkpoint {
            cluster_id: reader.u64()?,
            revision: reader.u64()? as i64,
            ranges: reader.u64()?,
            next_service_id: reader.u32()?,
            next_backend_id: reader.u32()?,
            entries: Vec::new(),
        };
        let count = reader.u32()?;
        for _ in 0..count {
            let (key, value) = (reader.field()?, reader.field()?);
            checkpoint.entries.push(Entry { key, value, mod_revision: reader.u64()? as i64 });
        }
        if reader.at != content.len() {
            return Err(CheckpointError::Damaged("bytes after the last entry"));
        }
        Ok(checkpoint)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], CheckpointError> {
        let end = self.at.checked_add(len).ok_or(CheckpointError::Damaged("length overflows"))?;
        let taken =
            self.bytes.get(self.at..end).ok_or(CheckpointError::Damaged("ends inside an entry"))?;
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        let mut raw = [0; 4];
        raw.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(raw))
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        let mut raw = [0; 8];
        raw.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(raw))
    }

    fn field(&mut self) -> Result<Vec<u8>, CheckpointError> {
        let len = self.u32()? as usize;
        if len > FIELD_LEN_MAX {
            return Err(CheckpointError::Damaged("field longer than any request"));
        }
        Ok(self.take(len)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            cluster_id: 7,
            revision: 42,
            ranges: ranges_hash(["a/", "b/"]),
            next_service_id: 3,
            next_backend_id: 9,
            entries: vec![Entry { key: b"k".into(), value: b"v".into(), mod_revision: 41 }],
        }
    }

    #[test]
    fn layout_is_as_drawn() {
        let bytes = sample().encode();
        assert_eq!(&bytes[..8], MAGIC);
        assert_eq!(bytes[12], 7);
        assert_eq!(bytes[20], 42);
        assert_eq!(bytes.len(), HEADER_LEN + 4 + 1 + 4 + 1 + 8 + 4);
    }

    #[test]
    fn order_of_ranges_does_not_matter_but_their_set_does() {
        assert_eq!(ranges_hash(["a/", "b/"]), ranges_hash(["b/", "a/"]));
        assert_ne!(ranges_hash(["a/"]), ranges_hash(["a/", "b/"]));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = sample().encode();
        bytes[8] = 2;
        assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointError::Version { found: 2 }));
        assert_eq!(Checkpoint::decode(b"nothing"), Err(CheckpointError::Magic));
    }

    proptest! {
        #[test]
        fn round_trip_and_every_flipped_bit_is_noticed(
            entries in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>(), 0i64..1 << 40), 0..8),
            at in any::<usize>(), bit in 0u8..8,
        ) {
            let checkpoint = Checkpoint {
                entries: entries.into_iter()
                    .map(|(key, value, mod_revision)| Entry { key, value, mod_revision }).collect(),
                ..sample()
            };
            let mut bytes = checkpoint.encode();
            prop_assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint));
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }
    }
}
