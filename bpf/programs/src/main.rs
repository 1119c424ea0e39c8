#![no_std]
#![no_main]
use aya_ebpf::{macros::{classifier}, programs::TcContext};
#[classifier]
pub fn skein_empty(_ctx: TcContext) -> i32 { 0 }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
