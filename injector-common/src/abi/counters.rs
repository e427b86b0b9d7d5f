use core::ops::AddAssign;

use super::{Histogram, record};

/// Declares a record of counters, with addition field by field.
macro_rules! counters {
    ($(#[$attr:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$attr])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// What happened to the packets of one rule, in wire packets.
    pub struct RuleCounters {
        /// Packets that the rule had to decide.
        pub matched: u64,
        /// Bytes of these packets, link-layer header included.
        pub bytes: u64,
        /// Packets dropped.
        pub dropped: u64,
        /// Packets given a delay.
        pub delayed: u64,
        /// Packets with flipped bits.
        pub corrupted: u64,
        /// Copies made.
        pub duplicated: u64,
        /// Packets that were not delayed, to overtake others.
        pub reordered: u64,
        /// Packets marked "congestion experienced", and not dropped.
        pub marked: u64,
        /// Packets dropped because the queue of the rate was full.
        pub overlimit: u64,
        /// Packets that were split out of super-packets, or lifted one by one, to be touched.
        pub split: u64,
        /// Packets that should have been lifted but could not be, and passed untouched.
        pub failed_open: u64,
        /// Packets that could neither be lifted nor pass any more.
        pub lost: u64,
        /// Bytes of the packets that matched, link-layer header included.
        pub size: Histogram<16>,
        /// From the moment when a packet came, or was to, to its departure, in µs; where the rule delays
        /// packets, or lets them leave one after the other.
        pub delay_us: Histogram<32>,
        /// The sum of these, in µs. In ns it would overflow within hours.
        pub delay_sum_us: u64,
        /// From a packet that was hit (dropped or marked, corrupted, duplicated or reordered) to the next one
        /// that was, counted in the packets that the rule matched: 1 is the very next. Where not all are hit.
        pub gap: Histogram<24>,
    }
}
record!(RuleCounters, size: 104 + (16 + 32 + 24) * 8, align: 8);

impl RuleCounters {
    /// Counts so many packets that were delayed for so long.
    #[inline(always)]
    pub fn add_delay(&mut self, delay_ns: u64, packets: u64) {
        let delay_us = delay_ns / 1000;
        self.delay_us.add(delay_us, packets);
        self.delay_sum_us += delay_us * packets;
    }
}

counters! {
    /// What happened outside the rules, in socket buffers (frames under XDP).
    pub struct PathCounters {
        /// Passed because no rule matched.
        pub unmatched: u64,
        /// Passed because they are protected from every rule.
        pub protected: u64,
        /// Passed because the headers could not be read.
        pub unparseable: u64,
        /// Passed although a rule matched, because the loader's lease had run out.
        pub lapsed: u64,
        /// Not ours, found on the private pair and discarded.
        pub stray: u64,
        /// Lifted with a stamp of another clock than fq's, which was taken off.
        pub unstamped: u64,
        /// Looked for the owner of their socket, and found no socket on this machine.
        pub unowned: u64,
    }
}
record!(PathCounters, size: 56, align: 8);
