//! The programs on the device's hooks and on the private pair. `ARCHITECTURE.md` has the picture;
//! what each one decides is in `injector-common`, what it does to the packet is here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    missing_docs,
    reason = "the program macros emit a second function without the docs"
)]

mod classify;
mod connections;
mod decide;
mod divert;
mod foresee;
mod fragments;
mod frame;
mod globals;
mod hold;
mod maps;
mod owner;
mod put_back;
mod record;
mod skb;
mod tables;
mod trace;
mod verifier;
mod xdp;

use aya_ebpf::{
    macros::{cgroup_sock, classifier, xdp},
    programs::{SockContext, TcContext, XdpContext},
};

use injector_common::abi::{EGRESS, INGRESS};

use crate::skb::Skb;

/// Device egress: lifts the packets that a rule matches onto the pair.
#[classifier]
pub fn injector_egress(ctx: TcContext) -> i32 {
    divert::run(Skb::new(&ctx), EGRESS)
}

/// Device ingress: likewise.
#[classifier]
pub fn injector_ingress(ctx: TcContext) -> i32 {
    divert::run(Skb::new(&ctx), INGRESS)
}

/// Far end's ingress: decides the fate of a wire packet that has crossed the pair.
#[classifier]
pub fn injector_decide(ctx: TcContext) -> i32 {
    decide::run(Skb::new(&ctx))
}

/// Far end's egress: decides the fate of a wire packet that has been split right here, and holds
/// packets until they depart.
#[classifier]
pub fn injector_hold(ctx: TcContext) -> i32 {
    hold::run(Skb::new(&ctx))
}

/// Near end's ingress: puts the packet back on the device.
#[classifier]
pub fn injector_return(ctx: TcContext) -> i32 {
    put_back::run(Skb::new(&ctx))
}

/// Device ingress, before socket buffers: rules that only drop.
#[xdp]
pub fn injector_xdp(ctx: XdpContext) -> u32 {
    xdp::run(&ctx)
}

/// Whatever socket is opened: notes who does it.
#[cgroup_sock(sock_create)]
pub fn injector_socket(ctx: SockContext) -> i32 {
    owner::label(&ctx)
}

/// GPL-compatible, as helpers such as `bpf_ktime_get_ns` demand.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program in which this loop survives.
    loop {}
}
