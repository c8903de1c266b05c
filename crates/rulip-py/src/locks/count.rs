//! A number of Python's that is nearly always a small int: a semaphore's value, a queue's limit.
//!
//! asyncio compares and adds whatever it was given: floats, big ints, booleans work, and stay what they
//! are. Owner thread.

use std::cell::Cell;
use std::ffi::c_int;

use crate::ffi::slot::Visit;
use crate::ffi::value::{Comparison, compare};
use crate::ffi::{Obj, Res, Slot, value};

/// The number.
pub(crate) struct Count {
    small: Cell<i64>,
    /// Anything else, which then counts.
    other: Slot,
}

impl Count {
    pub(crate) fn new(number: i64) -> Self {
        Self { small: Cell::new(number), other: Slot::empty() }
    }

    pub(crate) fn set(&self, number: &Obj) {
        match value::exact_i64(number) {
            Some(small) if small.unsigned_abs() < u64::from(u32::MAX) => {
                self.small.set(small);
                self.other.set(None);
            }
            _ => self.other.set(Some(number.clone())),
        }
    }

    pub(crate) fn get(&self) -> Res<Obj> {
        match self.other.get() {
            Some(other) => Ok(other),
            None => value::int(self.small.get()),
        }
    }

    /// `number == 0`.
    #[inline]
    pub(crate) fn is_zero(&self) -> Res<bool> {
        match self.other.get() {
            Some(other) => other.equals(&value::int(0)?),
            None => Ok(self.small.get() == 0),
        }
    }

    /// `number > 0`.
    #[inline]
    pub(crate) fn is_positive(&self) -> Res<bool> {
        match self.other.get() {
            Some(other) => compare(&other, &value::int(0)?, Comparison::Greater),
            None => Ok(self.small.get() > 0),
        }
    }

    /// `number <= 0`.
    #[inline]
    pub(crate) fn is_not_positive(&self) -> Res<bool> {
        match self.other.get() {
            Some(other) => compare(&other, &value::int(0)?, Comparison::LessOrEqual),
            None => Ok(self.small.get() <= 0),
        }
    }

    /// `number >= limit`.
    pub(crate) fn reaches(&self, limit: &Self) -> Res<bool> {
        if self.other.is_set() || limit.other.is_set() {
            return compare(&self.get()?, &limit.get()?, Comparison::GreaterOrEqual);
        }
        Ok(self.small.get() >= limit.small.get())
    }

    /// `size >= number`.
    #[inline]
    pub(crate) fn is_reached_by(&self, size: usize) -> Res<bool> {
        match self.other.get() {
            Some(other) => {
                let size = value::uint(u64::try_from(size).unwrap_or(u64::MAX))?;
                compare(&size, &other, Comparison::GreaterOrEqual)
            }
            None => Ok(i64::try_from(size).unwrap_or(i64::MAX) >= self.small.get()),
        }
    }

    /// The number, where it is a small one.
    #[inline(always)]
    pub(crate) fn small(&self) -> Option<i64> {
        (!self.other.is_set()).then(|| self.small.get())
    }

    /// As a limit: whether one more than `size` fits; false where only Python code knows.
    #[inline(always)]
    pub(crate) fn leaves_place(&self, size: usize) -> bool {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.small().is_some_and(|limit| limit <= 0 || size < limit)
    }

    /// `number += difference`.
    #[inline]
    pub(crate) fn add(&self, difference: i64) -> Res<()> {
        match self.other.get() {
            Some(other) => {
                self.other.set(Some(value::add(&other, &value::int(difference)?)?));
                Ok(())
            }
            None => {
                self.small.set(self.small.get().saturating_add(difference));
                Ok(())
            }
        }
    }

    pub(crate) fn clear(&self) {
        drop(self.other.take());
    }

    pub(crate) fn visit(&self, visit: &Visit) -> Result<(), c_int> {
        self.other.visit(visit)
    }
}
