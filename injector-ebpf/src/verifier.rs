//! What the verifier is to know of a number.

use core::arch::asm;

/// The same number, of which the verifier knows nothing any more: twice exclusive or with another of
/// which it knows nothing.
#[inline(always)]
pub fn forget(mut number: usize, unknown: usize) -> usize {
    // Not `pure`: the compiler would do it once, and keep the number where its bounds get lost.
    // SAFETY: touches nothing but the register, and leaves it as it was.
    unsafe {
        asm!(
            "{number} ^= {unknown}",
            "{number} ^= {unknown}",
            number = inout(reg) number,
            unknown = in(reg) unknown,
            options(nomem, nostack)
        );
    }
    number
}

/// Of a number the bits of a mask, so that the verifier sees the bound on the very register: the compiler drops a mask that
/// it knows to change nothing.
#[inline(always)]
pub fn masked(mut number: usize, mask: usize) -> usize {
    // SAFETY: touches nothing but the register.
    unsafe {
        asm!(
            "{number} &= {mask}",
            number = inout(reg) number,
            mask = in(reg) mask,
            options(pure, nomem, nostack)
        );
    }
    number
}
