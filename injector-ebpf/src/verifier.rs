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
