//! The words of readiness: which registration ([`Token`]), what is wanted ([`Interest`]), what
//! happened ([`Readiness`]).
//!
//! What lives here: three small value types shared by `sys`, `reactor` and `transport`. What does
//! not: who is registered (`reactor`) and epoll's own bits (`sys::poller`). Any thread.
//! Invariant: a token is never reused while an event that carries it may still be in flight.

use std::ops::{BitOr, BitOrAssign, Sub};

/// Names one registration: a slot and the generation that held it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token(u64);

impl Token {
    /// The engine's own waker: never handed out for a registration.
    pub const WAKER: Self = Self(u64::MAX);
    /// A descriptor that only rings: it ends a wait and is never dispatched.
    pub const DOORBELL: Self = Self(u64::MAX - 1);
    /// The generation of the reserved tokens.
    pub const RESERVED_GENERATION: u32 = u32::MAX;

    /// A token for slot `index` in its `generation`.
    #[inline]
    pub const fn new(index: u32, generation: u32) -> Self {
        Self(((generation as u64) << 32) | index as u64)
    }

    /// The slot.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Which of the slot's holders.
    #[inline]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The token as the kernel carries it.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Token::to_bits`].
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// What a level-triggered registration waits for.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Interest(u8);

impl Interest {
    /// Nothing: the registration keeps its slot and the kernel forgets it.
    pub const NONE: Self = Self(0);
    /// There is something to read (or to accept).
    pub const READABLE: Self = Self(1);
    /// There is room to write.
    pub const WRITABLE: Self = Self(2);
    /// Either.
    pub const BOTH: Self = Self(3);

    /// True if nothing is wanted.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// True if readability is wanted.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// True if writability is wanted.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    /// True if all of `other` is wanted.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Interest {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Takes `other` away.
impl Sub for Interest {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What the kernel reported about a descriptor.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Bytes, an end of file or a connection can be read.
    pub const READABLE: Self = Self(1);
    /// Bytes can be written.
    pub const WRITABLE: Self = Self(2);
    /// The peer closed its writing half, or both halves are gone.
    pub const HANGUP: Self = Self(4);
    /// An error is pending.
    pub const ERROR: Self = Self(8);

    /// True if nothing was reported.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// True if the kernel said readable.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READABLE.0 != 0
    }

    /// True if the kernel said writable.
    #[inline]
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITABLE.0 != 0
    }

    /// True if the peer hung up, in part or wholly.
    #[inline]
    pub const fn is_hangup(self) -> bool {
        self.0 & Self::HANGUP.0 != 0
    }

    /// True if an error is pending.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 & Self::ERROR.0 != 0
    }

    /// True if a read would not block: data, an end of file or an error.
    #[inline]
    pub const fn wakes_reader(self) -> bool {
        self.0 & (Self::READABLE.0 | Self::HANGUP.0 | Self::ERROR.0) != 0
    }

    /// True if a write would not block: room or an error.
    #[inline]
    pub const fn wakes_writer(self) -> bool {
        self.0 & (Self::WRITABLE.0 | Self::HANGUP.0 | Self::ERROR.0) != 0
    }

    /// True if all of `other` was reported.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Readiness {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_both_halves() {
        let token = Token::new(7, 9);
        assert_eq!((token.index(), token.generation()), (7, 9));
        assert_eq!(Token::from_bits(token.to_bits()), token);
        assert_eq!(Token::WAKER.generation(), Token::RESERVED_GENERATION);
        assert_eq!(Token::DOORBELL.generation(), Token::RESERVED_GENERATION);
    }

    #[test]
    fn interest_is_a_set() {
        let both = Interest::READABLE | Interest::WRITABLE;
        assert_eq!(both, Interest::BOTH);
        assert_eq!(both - Interest::READABLE, Interest::WRITABLE);
        assert!((both - both).is_none());
        assert!(both.contains(Interest::WRITABLE) && both.is_readable());
        assert!(!Interest::READABLE.contains(Interest::BOTH));
    }

    #[test]
    fn errors_and_hangups_wake_both_sides() {
        for readiness in [Readiness::HANGUP, Readiness::ERROR] {
            assert!(readiness.wakes_reader() && readiness.wakes_writer());
        }
        assert!(!Readiness::READABLE.wakes_writer() && !Readiness::WRITABLE.wakes_reader());
    }
}
