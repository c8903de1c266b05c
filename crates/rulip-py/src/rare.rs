//! [`Rare`]: what few objects of a type need, out of the way of the many.
//!
//! One word in the object, a box when used. The box is out of reach while it is looked at, so
//! nothing is borrowed in between; the functions given must not call Python.

use std::cell::Cell;

/// Boxed on first use.
pub(crate) struct Rare<T>(Cell<Option<Box<T>>>);

impl<T: Default> Rare<T> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(Cell::new(None))
    }

    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        let found = self.0.take();
        let used = found.is_some();
        self.0.set(found);
        used
    }

    /// Looks at it, if it is in use.
    #[inline]
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let found = self.0.take()?;
        let result = look(&found);
        self.0.set(Some(found));
        Some(result)
    }

    /// Changes it, if it is in use.
    #[inline]
    pub(crate) fn change_used<R>(&self, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut found = self.0.take()?;
        let result = change(&mut found);
        self.0.set(Some(found));
        Some(result)
    }

    /// Changes it; from now on it is in use.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut found = self.0.take().unwrap_or_default();
        let result = change(&mut found);
        self.0.set(Some(found));
        result
    }

    /// Moves it out, for the caller to drop.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.0.take()
    }
}
