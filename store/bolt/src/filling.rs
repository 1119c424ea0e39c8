//! A page that is being filled.

use crate::format::{BRANCH, ELEMENT, HEADER, Header, LEAF, PAGE_BYTES};

/// What an element says besides its key.
#[derive(Clone, Copy, Debug)]
enum Payload {
    /// Of a branch: the page below.
    Child(u64),
    /// Of a leaf: flags and the length of the value behind the key.
    Value { flags: u32, length: u32 },
}

#[derive(Debug)]
struct Element {
    key_length: u32,
    payload: Payload,
}

/// Elements that become one page of a level.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    elements: Vec<Element>,
    /// Keys and values one after the other.
    data: Vec<u8>,
}

impl Filling {
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// The key that the page above knows this page by.
    pub(crate) fn first_key(&self) -> &[u8] {
        let length = self.elements.first().map_or(0, |element| element.key_length);
        &self.data[..length as usize]
    }

    /// Whether an element of `bytes` more bytes leaves this within one page.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.bytes() + ELEMENT + bytes <= PAGE_BYTES
    }

    pub(crate) fn child(&mut self, key: &[u8], page: u64) {
        self.push(key, &[], Payload::Child(page));
    }

    pub(crate) fn value(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        self.push(key, value, Payload::Value { flags, length: value.len() as u32 });
    }

    fn push(&mut self, key: &[u8], value: &[u8], payload: Payload) {
        self.elements.push(Element { key_length: key.len() as u32, payload });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    /// Takes all but the last element of a branch.
    pub(crate) fn take_all_but_last(&mut self) -> Filling {
        let mut rest = Filling::default();
        if let Some(last) = self.elements.pop() {
            rest.data = self.data.split_off(self.data.len() - last.key_length as usize);
            rest.elements.push(last);
        }
        std::mem::replace(self, rest)
    }

    fn bytes(&self) -> usize {
        HEADER + self.elements.len() * ELEMENT + self.data.len()
    }

    /// Number of pages that this takes.
    pub(crate) fn pages(&self) -> u64 {
        self.bytes().div_ceil(PAGE_BYTES) as u64
    }

    /// The page, filled up with zeros to whole pages.
    pub(crate) fn encode(&self, id: u64) -> Vec<u8> {
        let leaf = self.elements.iter().all(|e| matches!(e.payload, Payload::Value { .. }));
        let header = Header {
            id,
            flags: if leaf { LEAF } else { BRANCH },
            // A page of 4 KiB has room for far fewer elements of 16 bytes and more.
            count: self.elements.len() as u16,
            overflow: (self.pages() - 1) as u32,
        };
        let mut out = Vec::with_capacity(self.pages() as usize * PAGE_BYTES);
        out.extend_from_slice(&header.encode());
        let mut data_at = HEADER + self.elements.len() * ELEMENT;
        for element in &self.elements {
            let position = ((data_at - out.len()) as u32).to_le_bytes();
            let key_length = element.key_length.to_le_bytes();
            data_at += element.key_length as usize;
            match element.payload {
                Payload::Child(page) => {
                    out.extend_from_slice(&position);
                    out.extend_from_slice(&key_length);
                    out.extend_from_slice(&page.to_le_bytes());
                }
                Payload::Value { flags, length } => {
                    out.extend_from_slice(&flags.to_le_bytes());
                    out.extend_from_slice(&position);
                    out.extend_from_slice(&key_length);
                    out.extend_from_slice(&length.to_le_bytes());
                    data_at += length as usize;
                }
            }
        }
        out.extend_from_slice(&self.data);
        out.resize(self.pages() as usize * PAGE_BYTES, 0);
        out
    }
}
