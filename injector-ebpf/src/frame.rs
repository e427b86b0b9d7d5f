//! Direct packet access as [`Bytes`].

use core::arch::asm;

use injector_common::wire::{Bytes, HEADERS_LEN_MAX, Plain};

use crate::verifier;

/// The linear part of a frame.
#[derive(Clone, Copy)]
pub struct Frame {
    data: usize,
    end: usize,
}

impl Frame {
    /// From the context's `data` and `data_end`.
    #[inline(always)]
    pub fn new(data: usize, end: usize) -> Self {
        Self { data, end }
    }

    /// Bytes that can be accessed directly.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.data
    }

    /// Where a value at `offset` lies, if it does so wholly within the frame.
    #[inline(always)]
    pub fn at<T>(&self, offset: usize) -> Option<*const T> {
        let start = self.data + bounded(offset);
        (start + size_of::<T>() <= self.end).then_some(start as *const T)
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn read<T: Plain>(&self, offset: usize) -> Option<T> {
        let place = self.at::<T>(offset)?;
        // SAFETY: the bytes lie within the packet, and any bytes are a T. Not `read_unaligned`,
        // which the compiler turns into single bytes: the verifier accepts unaligned packet
        // access where the machine has it, and refuses the program elsewhere.
        Some(unsafe { place.read() })
    }

    #[inline(always)]
    fn forget(&self, offset: usize) -> usize {
        verifier::forget(offset, self.len())
    }
}

/// The offset, with a bound that the verifier sees on the very register that is then added to the
/// packet pointer. The compiler would drop a mask that it knows to change nothing, and 5.10 does
/// not learn from a comparison with a copy of the register.
#[inline(always)]
fn bounded(mut offset: usize) -> usize {
    const _: () = assert!(HEADERS_LEN_MAX + 60 < 1024);
    // SAFETY: touches nothing but the register.
    unsafe { asm!("{offset} &= 1023", offset = inout(reg) offset, options(pure, nomem, nostack)) };
    offset
}
