//! The x86-64 integer operations that the abstract machine evaluates, and their flags.
//!
//! Any other operation has an unknown result, never a wrong one.

use iced_x86::{ConditionCode, Mnemonic};

/// The arithmetic flags that conditions read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    carry: bool,
    zero: bool,
    sign: bool,
    overflow: bool,
    parity: bool,
}

/// Truncates `number` to `size` bytes.
pub(super) fn truncate(number: u64, size: usize) -> u64 {
    match size {
        0..8 => number & ((1 << (size * 8)) - 1),
        _ => number,
    }
}

/// Extends a `number` of `size` bytes with its sign.
pub(super) fn sign_extend(number: u64, size: usize) -> u64 {
    let shift = 64_u32.saturating_sub(u32::try_from(size).unwrap_or(8).saturating_mul(8));
    let up = number.checked_shl(shift).unwrap_or(0).cast_signed();
    up.checked_shr(shift).unwrap_or(0).cast_unsigned()
}

fn top_bit(number: u64, size: usize) -> bool {
    sign_extend(number, size).cast_signed() < 0
}

/// Returns result and flags of a two-operand operation on `size` bytes; `None` for an operation
/// that is not modelled.
pub(super) fn evaluate(operation: Mnemonic, a: u64, b: u64, size: usize) -> Option<(u64, Flags)> {
    let (a, b) = (truncate(a, size), truncate(b, size));
    let (sa, sb) = (top_bit(a, size), top_bit(b, size));
    let count = b & if size == 8 { 63 } else { 31 };
    let (result, carry, overflow) = match operation {
        Mnemonic::Add | Mnemonic::Inc => {
            let sum = truncate(a.wrapping_add(b), size);
            (sum, sum < a, sa == sb && top_bit(sum, size) != sa)
        }
        Mnemonic::Sub | Mnemonic::Cmp | Mnemonic::Dec | Mnemonic::Neg => {
            let difference = truncate(a.wrapping_sub(b), size);
            (
                difference,
                a < b,
                sa != sb && top_bit(difference, size) != sa,
            )
        }
        Mnemonic::And | Mnemonic::Test => (a & b, false, false),
        Mnemonic::Or => (a | b, false, false),
        Mnemonic::Xor => (a ^ b, false, false),
        // Of the flags of shifts, overflow is rarely read and not modelled.
        Mnemonic::Shl | Mnemonic::Sal if count > 0 => (
            truncate(a << count, size),
            (a << (count - 1)) & (1 << (size * 8 - 1)) != 0,
            false,
        ),
        Mnemonic::Shr if count > 0 => (a >> count, a >> (count - 1) & 1 == 1, false),
        Mnemonic::Sar if count > 0 => {
            let wide = sign_extend(a, size).cast_signed();
            (
                truncate((wide >> count).cast_unsigned(), size),
                wide >> (count - 1) & 1 == 1,
                false,
            )
        }
        _ => return None,
    };
    let parity = (result & 0xff).count_ones() % 2 == 0;
    Some((
        result,
        Flags {
            carry,
            zero: result == 0,
            sign: top_bit(result, size),
            overflow,
            parity,
        },
    ))
}

impl Flags {
    /// Returns the flags of `bt`, which defines carry only.
    pub(super) fn from_bit_test(number: u64, bit: u64, size: usize) -> Self {
        let bit = bit % (size.max(1) as u64 * 8);
        Self {
            carry: number >> bit & 1 == 1,
            zero: false,
            sign: false,
            overflow: false,
            parity: false,
        }
    }

    /// Whether a condition holds (Intel SDM vol. 1, appendix B).
    pub(super) fn satisfy(self, condition: ConditionCode) -> bool {
        match condition {
            ConditionCode::None => true,
            ConditionCode::o => self.overflow,
            ConditionCode::no => !self.overflow,
            ConditionCode::b => self.carry,
            ConditionCode::ae => !self.carry,
            ConditionCode::e => self.zero,
            ConditionCode::ne => !self.zero,
            ConditionCode::be => self.carry || self.zero,
            ConditionCode::a => !(self.carry || self.zero),
            ConditionCode::s => self.sign,
            ConditionCode::ns => !self.sign,
            ConditionCode::p => self.parity,
            ConditionCode::np => !self.parity,
            ConditionCode::l => self.sign != self.overflow,
            ConditionCode::ge => self.sign == self.overflow,
            ConditionCode::le => self.zero || self.sign != self.overflow,
            ConditionCode::g => !self.zero && self.sign == self.overflow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_follow_the_comparison() {
        let cases: [(u64, u64, &[ConditionCode], &[ConditionCode]); 3] = [
            (
                4,
                4,
                &[ConditionCode::e, ConditionCode::be, ConditionCode::ge],
                &[ConditionCode::a, ConditionCode::l],
            ),
            (
                1,
                2,
                &[ConditionCode::b, ConditionCode::l, ConditionCode::ne],
                &[ConditionCode::ae, ConditionCode::g],
            ),
            // -1 below 1 signed, above it unsigned.
            (
                u64::MAX,
                1,
                &[ConditionCode::l, ConditionCode::a],
                &[ConditionCode::g, ConditionCode::b],
            ),
        ];
        for (a, b, hold, fail) in cases {
            let (_, flags) = evaluate(Mnemonic::Cmp, a, b, 4).expect("cmp is known");
            assert!(
                hold.iter().all(|condition| flags.satisfy(*condition)),
                "{a} {b}"
            );
            assert!(
                !fail.iter().any(|condition| flags.satisfy(*condition)),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn results_are_truncated_to_their_size() {
        assert_eq!(
            evaluate(Mnemonic::Add, 0xff, 1, 1).map(|(result, _)| result),
            Some(0)
        );
        assert_eq!(
            evaluate(Mnemonic::Shl, 1, 31, 4).map(|(result, _)| result),
            Some(1 << 31)
        );
        assert_eq!(
            evaluate(Mnemonic::Sar, 0x8000_0000, 31, 4).map(|(result, _)| result),
            Some(0xffff_ffff)
        );
        assert_eq!(evaluate(Mnemonic::Shl, 1, 0, 4), None);
        assert_eq!(sign_extend(0x80, 1), 0xffff_ffff_ffff_ff80);
    }
}
