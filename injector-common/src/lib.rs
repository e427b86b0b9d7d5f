//! What the two sides of injector share: the map ABI, and the pure logic of faults.
//!
//! A packet's fate is a pure function of the rule's [`abi::FaultSpec`] and the packet's index: the
//! same code is compiled once for the eBPF virtual machine and once for userspace, where it is
//! property-tested and where `injector predict` runs it. Nothing here allocates, uses floating
//! point, reads a clock or touches a map.
//!
//! A packet's way through the modules: [`wire`] turns bytes into a [`wire::PacketKey`],
//! [`fragments`] adds what those bytes lack, [`classify`] finds the rule, [`fate`] says what happens to the n-th packet of
//! that rule, with [`random`] as its only source of chance, [`corrupt`] says which bit.
#![no_std]

pub mod abi;
pub mod chance;
pub mod classify;
pub mod corrupt;
pub mod dimension;
pub mod distribution;
pub mod fate;
pub mod field;
pub mod flow;
pub mod fragments;
pub mod pace;
pub mod random;
pub mod track;
pub mod wire;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;
