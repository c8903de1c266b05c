//! The inbox: many producers, one consumer, at most one wake-up per park.
//!
//! What lives here: the queue other threads push into and the flags that say whether the consumer
//! must be woken. What does not: how it is woken (`sys::waker`). [`Inbox::push`],
//! [`Inbox::notify`] and [`Inbox::close`] run on any thread, the rest on the consumer's.
//!
//! | flags | means | push / notify | `prepare_park` | `take` |
//! |---|---|---|---|---|
//! | none | consumer awake, nothing new | PENDING | PARKED, true | none |
//! | PENDING | something new, consumer told | PENDING | unchanged, false | none |
//! | PARKED | consumer blocked or about to | PENDING, **wake** | - | none |
//!
//! Invariants: an item is in the queue before PENDING is set for it, and PENDING is cleared before
//! the queue is emptied, so no item sits unannounced; one exchange both announces and claims the
//! wake-up, so exactly one producer per park owes it; no item is dropped or cloned under the lock.

use std::sync::PoisonError;

use super::loom::{AtomicU8, Mutex, MutexGuard, Ordering};

/// Something was pushed or notified since the consumer last looked.
const PENDING: u8 = 1;
/// The consumer sleeps, or has decided to.
const PARKED: u8 = 2;

/// Whether the caller owes the consumer a wake-up.
#[must_use = "a parked consumer sleeps on unless it is woken"]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Wake {
    /// The consumer is parked and nobody else has promised to wake it.
    Needed,
    /// It is awake, or somebody is waking it.
    NotNeeded,
}

/// What a push left behind.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// Whether the caller owes the consumer a wake-up.
    pub wake: Wake,
    /// How many items wait, with this one.
    pub waiting: usize,
}

/// A queue into one thread.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    flags: AtomicU8,
}

#[derive(Debug)]
struct Queue<T> {
    items: Vec<T>,
    closed: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Inbox<T> {
    /// An open, empty inbox.
    pub fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { items: Vec::new(), closed: false }),
            flags: AtomicU8::new(0),
        }
    }

    /// Adds an item. After [`Inbox::close`] it comes back.
    pub fn push(&self, item: T) -> Result<Pushed, T> {
        let waiting = {
            let mut queue = self.lock();
            if queue.closed {
                return Err(item);
            }
            queue.items.push(item);
            queue.items.len()
        };
        // PENDING still stands: a consumer that had cleared it and emptied the queue before this push
        // would have told by the lock. So it will look, and an exchange would add nothing.
        let announced = self.flags.load(Ordering::Acquire) & PENDING != 0;
        let wake = if announced { Wake::NotNeeded } else { self.notify() };
        Ok(Pushed { wake, waiting })
    }

    /// Makes the consumer look without giving it anything.
    #[inline]
    pub fn notify(&self) -> Wake {
        // Released: the item pushed before. Acquired: nothing, but the exchange must be totally
        // ordered with prepare_park's, which two read-modify-writes of one atomic are.
        if self.flags.swap(PENDING, Ordering::AcqRel) & PARKED != 0 {
            Wake::Needed
        } else {
            Wake::NotNeeded
        }
    }

    /// True if a push or a notification has not been taken yet.
    #[inline]
    pub fn has_items(&self) -> bool {
        self.flags.load(Ordering::Acquire) & PENDING != 0
    }

    /// Moves every item to the end of `into`, oldest first, and forgets notifications.
    pub fn take(&self, into: &mut Vec<T>) {
        // First the flag, then the queue: a push that falls in between is taken now and announced
        // again, which costs one empty look. The other order would lose its announcement.
        self.flags.fetch_and(!PENDING, Ordering::AcqRel);
        let mut queue = self.lock();
        if into.is_empty() {
            std::mem::swap(&mut queue.items, into);
        } else {
            into.append(&mut queue.items);
        }
    }

    /// The consumer is about to block. False: something is pending, it must not.
    #[must_use = "false forbids blocking"]
    #[inline]
    pub fn prepare_park(&self) -> bool {
        self.flags.compare_exchange(0, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The consumer is awake again, for whatever reason.
    #[inline]
    pub fn unpark(&self) {
        self.flags.fetch_and(!PARKED, Ordering::AcqRel);
    }

    /// Refuses further items and returns those not taken, oldest first.
    pub fn close(&self) -> Vec<T> {
        let mut queue = self.lock();
        queue.closed = true;
        std::mem::take(&mut queue.items)
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing under the lock leaves the queue half-changed, so a poisoned one is still sound.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pushed(wake: Wake, waiting: usize) -> Pushed {
        Pushed { wake, waiting }
    }

    #[test]
    fn only_the_first_push_into_a_parked_inbox_wakes() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push(1), Ok(pushed(Wake::NotNeeded, 1)), "nobody sleeps");
        assert!(inbox.has_items() && !inbox.prepare_park());
        let mut taken = vec![];
        inbox.take(&mut taken);
        assert!(!inbox.has_items() && inbox.prepare_park());
        assert_eq!(inbox.push(2), Ok(pushed(Wake::Needed, 1)));
        assert_eq!(inbox.push(3), Ok(pushed(Wake::NotNeeded, 2)));
        inbox.unpark();
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 2, 3]);
    }

    #[test]
    fn a_notification_forbids_one_park() {
        let inbox: Inbox<()> = Inbox::new();
        assert_eq!(inbox.notify(), Wake::NotNeeded);
        assert!(!inbox.prepare_park());
        inbox.take(&mut vec![]);
        assert!(inbox.prepare_park());
        assert_eq!(inbox.notify(), Wake::Needed);
    }

    #[test]
    fn after_close_items_come_back() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push(1), Ok(pushed(Wake::NotNeeded, 1)));
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.push(2), Err(2));
        assert!(inbox.close().is_empty());
    }
}
