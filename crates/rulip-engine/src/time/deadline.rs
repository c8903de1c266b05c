//! A moment on the monotonic clock, in nanoseconds.
//!
//! What lives here: the type and its exact conversion from and to seconds. What does not: reading
//! the clock (`sys::clock`). Any thread. Invariant: a clock that shows `ns as f64 / 1e9` never
//! shows a time before `when` once `Deadline::from_secs(when)` has passed.

use std::time::Duration;

/// Nanoseconds on the monotonic clock.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Deadline(pub u64);

impl Deadline {
    /// The moment that does not come.
    pub const NEVER: Self = Self(u64::MAX);

    /// The earliest moment whose [`Deadline::as_secs`] is at least `secs`.
    ///
    /// Negative seconds and NaN are the clock's zero; what lies beyond its range is
    /// [`Deadline::NEVER`].
    pub fn from_secs(secs: f64) -> Self {
        // Written so that NaN takes this branch.
        if secs.is_nan() || secs <= 0.0 {
            return Self(0);
        }
        let scaled = (secs * 1e9).ceil();
        if scaled >= u64::MAX as f64 {
            return Self::NEVER;
        }
        // The multiplication and the clock's division each round, so the answer lies within a
        // few steps of a 53-bit mantissa around `guess`.
        let guess = scaled as u64;
        let reach = (guess >> 50) + 2;
        let (mut low, mut high) = (guess.saturating_sub(reach), guess.saturating_add(reach));
        while low < high {
            let middle = low + (high - low) / 2;
            if Self(middle).as_secs() >= secs {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Self(low)
    }

    /// Seconds, rounded as the clock rounds them.
    #[inline]
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How long from `now` until this moment: zero if it has passed.
    #[inline]
    pub fn since(self, now: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }

    /// This moment, `duration` later; [`Deadline::NEVER`] when out of range.
    #[inline]
    pub fn after(self, duration: Duration) -> Self {
        match u64::try_from(duration.as_nanos()) {
            Ok(nanos) => Self(self.0.saturating_add(nanos)),
            Err(_) => Self::NEVER,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(Deadline::from_secs(f64::NAN), Deadline(0));
        assert_eq!(Deadline::from_secs(f64::NEG_INFINITY), Deadline(0));
        assert_eq!(Deadline::from_secs(-1.0), Deadline(0));
        assert_eq!(Deadline::from_secs(-0.0), Deadline(0));
        assert_eq!(Deadline::from_secs(f64::INFINITY), Deadline::NEVER);
        assert_eq!(Deadline::from_secs(1e30), Deadline::NEVER);
        assert_eq!(Deadline::from_secs(f64::MIN_POSITIVE), Deadline(1));
        assert_eq!(Deadline::from_secs(1.5), Deadline(1_500_000_000));
    }

    #[test]
    fn adding_and_subtracting_saturate() {
        assert_eq!(Deadline(5).since(Deadline(9)), Duration::ZERO);
        assert_eq!(Deadline(9).since(Deadline(5)), Duration::from_nanos(4));
        assert_eq!(Deadline(1).after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline(1).after(Duration::from_nanos(2)), Deadline(3));
    }

    proptest! {
        #[test]
        fn is_the_smallest_moment_not_before(secs in prop_oneof![
            0.0..1e-6f64, 0.0..10.0f64, 0.0..1e7f64, 0.0..1.8e10f64,
        ]) {
            let deadline = Deadline::from_secs(secs);
            prop_assert!(deadline.as_secs() >= secs);
            prop_assert!(deadline.0 == 0 || Deadline(deadline.0 - 1).as_secs() < secs);
        }

        #[test]
        fn a_clock_reading_round_trips_to_itself_or_its_float_twin(ns in any::<u64>()) {
            let deadline = Deadline::from_secs(Deadline(ns).as_secs());
            prop_assert!(deadline <= Deadline(ns) || deadline == Deadline::NEVER);
            if ns < 1 << 52 {
                prop_assert_eq!(deadline, Deadline(ns));
            }
        }
    }
}
