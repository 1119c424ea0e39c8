//! A socket buffer behind the interface that decisions read and rewrite.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::bpf_skb_change_tail;
use aya_ebpf::programs::TcContext;
use skein_bpf_abi::addr::Mac;
use skein_bpf_logic::Packet;
use skein_bpf_logic::packet::{ETH_SRC, HEADERS_MAX, L4Checksum};

/// View of the packet in a context. Reads go to the packet directly and are checked against its end
/// each time; writes go through helpers, which know about checksums that hardware completes.
pub(crate) struct Skb<'a>(&'a TcContext);

impl<'a> Skb<'a> {
    /// Brings the headers into reach of direct reads, where they are not already.
    #[inline(always)]
    pub(crate) fn new(ctx: &'a TcContext) -> Self {
        let wanted = if ctx.len() < HEADERS_MAX { ctx.len() } else { HEADERS_MAX };
        if ctx.data() + wanted as usize > ctx.data_end() {
            // A failure shows as headers that end too early.
            let _ = ctx.pull_data(wanted);
        }
        Self(ctx)
    }

    #[inline(always)]
    fn load<T: Copy>(&self, offset: u32) -> Option<T> {
        let start = self.0.data() + offset as usize;
        if start + size_of::<T>() > self.0.data_end() {
            return None;
        }
        // SAFETY: within the packet, checked above. The kernel's architectures for this object read
        // unaligned words in one instruction, and the verifier accepts it for packet memory; an
        // unaligned read here would be compiled to single bytes.
        Some(unsafe { *(start as *const T) })
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn u16_at(&self, offset: u32) -> Option<u16> {
        self.load(offset)
    }

    #[inline(always)]
    fn u32_at(&self, offset: u32) -> Option<u32> {
        self.load(offset)
    }

    #[inline(always)]
    fn set_u16(&mut self, offset: u32, value: u16) -> bool {
        self.0.store(offset as usize, &value, 0).is_ok()
    }

    #[inline(always)]
    fn set_u32(&mut self, offset: u32, value: u32) -> bool {
        self.0.store(offset as usize, &value, 0).is_ok()
    }

    #[inline(always)]
    fn set_macs(&mut self, dst: Mac, src: Mac) -> bool {
        self.0.store(0, &[dst, src], 0).is_ok()
    }

    #[inline(always)]
    fn swap_macs(&mut self) -> bool {
        let (Ok(dst), Ok(src)) = (self.0.load::<Mac>(0), self.0.load::<Mac>(ETH_SRC as usize))
        else {
            return false;
        };
        self.set_macs(src, dst)
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> bool {
        // SAFETY: a valid context.
        let resized = unsafe { bpf_skb_change_tail(self.0.as_ptr().cast(), len, 0) };
        // The end may have become part of another page.
        resized == 0 && self.0.pull_data(len).is_ok()
    }

    #[inline(always)]
    fn fix_l3_u32(&mut self, offset: u32, old: u32, new: u32) -> bool {
        self.0.l3_csum_replace(offset as usize, u64::from(old), u64::from(new), 4).is_ok()
    }

    #[inline(always)]
    fn fix_l4_u32(&mut self, field: L4Checksum, old: u32, new: u32) -> bool {
        let flags = l4_flags(field) | 4;
        self.0.l4_csum_replace(field.offset as usize, u64::from(old), u64::from(new), flags).is_ok()
    }

    #[inline(always)]
    fn fix_l4_u16(&mut self, field: L4Checksum, old: u16, new: u16) -> bool {
        let flags = l4_flags(field) | 2;
        self.0.l4_csum_replace(field.offset as usize, u64::from(old), u64::from(new), flags).is_ok()
    }
}

/// Helper flags of a checksum field.
#[inline(always)]
fn l4_flags(field: L4Checksum) -> u64 {
    let pseudo = if field.pseudo { u64::from(BPF_F_PSEUDO_HDR) } else { 0 };
    let mangled = if field.udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
    pseudo | mangled
}
