//! Addresses of this node's pods, out of the block the control plane gave the node.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Longest prefix a block may have: a /29 leaves four pod addresses after the reserved four.
pub const BLOCK_PREFIX_MAX: u8 = 29;
/// Offset of the router address (lives on `skein_host`, gateway of every pod).
pub const ROUTER_OFFSET: u32 = 1;
/// Offset of the health address.
pub const HEALTH_OFFSET: u32 = 2;
/// Offset of the first address a pod can get.
const FIRST_POD_OFFSET: u32 = 3;

/// Why an address was not given or taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// No free address.
    #[error("block {block} is exhausted: {used} of {capacity} addresses are in use")]
    Exhausted { block: Ipv4Net, used: usize, capacity: usize },
    /// The block cannot serve pods.
    #[error("block {0} is smaller than a /{BLOCK_PREFIX_MAX}")]
    TooSmall(Ipv4Net),
    /// Restoring an address that someone else has.
    #[error("{addr} belongs to {holder}, not to {claimant}")]
    Taken { addr: Ipv4Addr, holder: String, claimant: String },
}

/// The allocator of one node: one block, owners by address.
///
/// The search goes forward from the last address given and wraps, so an address that was just freed
/// is the last to come back: caches elsewhere (conntrack, ARP, clients' DNS) have the longest time
/// to forget it. Addresses outside the block can be held (restored from an earlier block), never
/// given out.
#[derive(Clone, Debug)]
pub struct Ipam {
    block: Ipv4Net,
    next: u32,
    owners: BTreeMap<Ipv4Addr, String>,
}

impl Ipam {
    /// An allocator for `block` with nothing given out.
    pub fn new(block: Ipv4Net) -> Result<Ipam, IpamError> {
        let block = block.trunc();
        if block.prefix_len() > BLOCK_PREFIX_MAX {
            return Err(IpamError::TooSmall(block));
        }
        Ok(Ipam { block, next: FIRST_POD_OFFSET, owners: BTreeMap::new() })
    }

    /// The block.
    pub fn block(&self) -> Ipv4Net {
        self.block
    }

    /// The router's address in `block`.
    pub fn router_of(block: Ipv4Net) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(block.network()) + ROUTER_OFFSET)
    }

    /// The health address in `block`.
    pub fn health_of(block: Ipv4Net) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(block.network()) + HEALTH_OFFSET)
    }

    /// Addresses that pods can get.
    pub fn capacity(&self) -> usize {
        let size = 1usize << (32 - u32::from(self.block.prefix_len()));
        size - FIRST_POD_OFFSET as usize - 1
    }

    /// Who has what, by address.
    pub fn owners(&self) -> &BTreeMap<Ipv4Addr, String> {
        &self.owners
    }

    /// Pod addresses of the block in use.
    pub fn used(&self) -> usize {
        self.owners.keys().filter(|addr| self.is_pod_address(**addr)).count()
    }

    /// Whether another pod can be given an address.
    pub fn is_exhausted(&self) -> bool {
        self.used() >= self.capacity()
    }

    /// Gives the next free address to `owner`.
    pub fn allocate(&mut self, owner: &str) -> Result<Ipv4Addr, IpamError> {
        let last = (self.capacity() as u32) + FIRST_POD_OFFSET;
        for step in 0..self.capacity() as u32 {
            let span = last - FIRST_POD_OFFSET;
            let offset = FIRST_POD_OFFSET + (self.next - FIRST_POD_OFFSET + step) % span;
            let addr = Ipv4Addr::from(u32::from(self.block.network()) + offset);
            if let Entry::Vacant(free) = self.owners.entry(addr) {
                free.insert(owner.to_owned());
                self.next = FIRST_POD_OFFSET + (offset + 1 - FIRST_POD_OFFSET) % span;
                return Ok(addr);
            }
        }
        Err(IpamError::Exhausted {
            block: self.block,
            used: self.used(),
            capacity: self.capacity(),
        })
    }

    /// Takes back an address that `owner` had before a restart; the search goes on after it.
    /// Restoring the same twice is fine.
    pub fn restore(&mut self, addr: Ipv4Addr, owner: &str) -> Result<(), IpamError> {
        match self.owners.get(&addr) {
            Some(holder) if holder != owner => {
                Err(IpamError::Taken { addr, holder: holder.clone(), claimant: owner.to_owned() })
            }
            _ => {
                self.owners.insert(addr, owner.to_owned());
                if self.is_pod_address(addr) {
                    let offset = u32::from(addr) - u32::from(self.block.network());
                    let span = self.capacity() as u32;
                    self.next = FIRST_POD_OFFSET + (offset + 1 - FIRST_POD_OFFSET) % span;
                }
                Ok(())
            }
        }
    }

    /// Frees an address if `owner` has it; anything else changes nothing.
    pub fn release(&mut self, addr: Ipv4Addr, owner: &str) {
        if self.owners.get(&addr).is_some_and(|holder| holder == owner) {
            self.owners.remove(&addr);
        }
    }

    fn is_pod_address(&self, addr: Ipv4Addr) -> bool {
        let base = u32::from(self.block.network());
        let offset = u32::from(addr).wrapping_sub(base);
        offset >= FIRST_POD_OFFSET
            && (offset as usize) < self.capacity() + FIRST_POD_OFFSET as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ipam(block: &str) -> Ipam {
        Ipam::new(block.parse().unwrap()).unwrap()
    }

    #[test]
    fn reserved_addresses_are_never_given_and_the_end_is_told() {
        let mut ipam = ipam("10.0.1.0/29");
        let got: Vec<_> = (0..4).map(|i| ipam.allocate(&format!("p{i}")).unwrap()).collect();
        assert_eq!(got.first().unwrap().octets(), [10, 0, 1, 3]);
        assert_eq!(got.last().unwrap().octets(), [10, 0, 1, 6]);
        assert!(ipam.is_exhausted());
        assert!(matches!(ipam.allocate("x"), Err(IpamError::Exhausted { used: 4, .. })));
        assert_eq!(Ipam::router_of(ipam.block()).octets(), [10, 0, 1, 1]);
    }

    #[test]
    fn a_freed_address_comes_back_last() {
        let mut ipam = ipam("10.0.0.0/28");
        let first = ipam.allocate("a").unwrap();
        ipam.release(first, "a");
        let mut order = Vec::new();
        while let Ok(addr) = ipam.allocate("b") {
            order.push(addr);
        }
        assert_eq!(order.last(), Some(&first));
        assert_eq!(order.len(), ipam.capacity());
    }

    #[test]
    fn restore_comes_before_new_ones_and_refuses_a_second_owner() {
        let mut ipam = ipam("10.0.0.0/24");
        ipam.restore("10.0.0.7".parse().unwrap(), "a").unwrap();
        ipam.restore("10.0.0.7".parse().unwrap(), "a").unwrap();
        assert!(ipam.restore("10.0.0.7".parse().unwrap(), "b").is_err());
        assert_eq!(ipam.allocate("b").unwrap().octets(), [10, 0, 0, 8]);
        ipam.release("10.0.0.7".parse().unwrap(), "b");
        assert_eq!(ipam.owners().len(), 2);
    }

    #[test]
    fn an_address_of_an_earlier_block_is_held_but_not_counted() {
        let mut ipam = ipam("10.0.0.0/24");
        ipam.restore("10.9.0.7".parse().unwrap(), "old").unwrap();
        assert_eq!(ipam.used(), 0);
        assert!(Ipam::new("10.0.0.0/30".parse().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn no_address_has_two_owners(ops in proptest::collection::vec((0u8..20, any::<bool>()), 0..200)) {
            let mut ipam = ipam("10.0.0.0/28");
            let mut held: BTreeMap<u8, Ipv4Addr> = BTreeMap::new();
            for (who, add) in ops {
                let owner = format!("p{who}");
                if add && !held.contains_key(&who) {
                    if let Ok(addr) = ipam.allocate(&owner) {
                        prop_assert!(held.values().all(|other| *other != addr));
                        prop_assert!(ipam.block().contains(&addr));
                        held.insert(who, addr);
                    } else {
                        prop_assert_eq!(held.len(), ipam.capacity());
                    }
                } else if !add && let Some(addr) = held.remove(&who) {
                    ipam.release(addr, &owner);
                }
            }
            prop_assert_eq!(ipam.used(), held.len());
        }
    }
}
