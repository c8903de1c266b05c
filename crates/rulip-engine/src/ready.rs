//! The ready queue: first in, first out, one turn's snapshot at a time.
//!
//! What lives here: the queue and the count of what the current turn may still take. What does
//! not: what an item is. The owner thread runs it. Invariants: a turn takes at most the items
//! present when it began; an item is never dropped here.

use std::collections::VecDeque;

/// Jobs that can run now.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    items: VecDeque<T>,
    /// What the current turn may still take: never more than `items.len()`.
    in_turn: usize,
}

impl<T> Default for ReadyQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ReadyQueue<T> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { items: VecDeque::new(), in_turn: 0 }
    }

    /// Adds an item at the end.
    #[inline]
    pub fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// Moves every item of `items` to the end, in order.
    #[inline]
    pub fn append(&mut self, items: &mut Vec<T>) {
        self.items.extend(items.drain(..));
    }

    /// How many items wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True if none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Begins a turn over what waits now.
    #[inline]
    pub fn begin_turn(&mut self) {
        self.in_turn = self.items.len();
    }

    /// The next item of this turn.
    #[inline]
    pub fn next_in_turn(&mut self) -> Option<T> {
        if self.in_turn == 0 {
            return None;
        }
        self.in_turn -= 1;
        self.items.pop_front()
    }

    /// Ends the turn. What it did not take stays queued, in order.
    #[inline]
    pub fn end_turn(&mut self) {
        self.in_turn = 0;
    }

    /// Every waiting item, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Takes every waiting item, first to last.
    pub fn drain(&mut self) -> Vec<T> {
        self.in_turn = 0;
        std::mem::take(&mut self.items).into()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_turn_does_not_see_what_it_adds() {
        let mut queue = ReadyQueue::new();
        queue.push(1);
        queue.begin_turn();
        assert_eq!(queue.next_in_turn(), Some(1));
        queue.push(2);
        assert_eq!(queue.next_in_turn(), None);
        queue.end_turn();
        queue.begin_turn();
        assert_eq!(queue.next_in_turn(), Some(2));
    }

    #[test]
    fn an_aborted_turn_leaves_the_rest() {
        let mut queue = ReadyQueue::new();
        queue.append(&mut vec![1, 2, 3]);
        queue.begin_turn();
        assert_eq!(queue.next_in_turn(), Some(1));
        queue.end_turn();
        assert_eq!(queue.next_in_turn(), None);
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(queue.drain(), [2, 3]);
        assert!(queue.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(u8),
        Begin,
        Next,
        End,
        Drain,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => any::<u8>().prop_map(Op::Push),
            2 => Just(Op::Begin),
            5 => Just(Op::Next),
            1 => Just(Op::End),
            1 => Just(Op::Drain),
        ]
    }

    proptest! {
        /// The model keeps the snapshot as a list of its own.
        #[test]
        fn agrees_with_two_lists(ops in proptest::collection::vec(op(), 0..200)) {
            let mut queue = ReadyQueue::new();
            let (mut turn, mut later): (Vec<u8>, Vec<u8>) = (vec![], vec![]);
            for op in ops {
                match op {
                    Op::Push(item) => { queue.push(item); later.push(item); }
                    Op::Begin => { queue.begin_turn(); turn.append(&mut later); }
                    Op::Next => {
                        let expected = if turn.is_empty() { None } else { Some(turn.remove(0)) };
                        prop_assert_eq!(queue.next_in_turn(), expected);
                    }
                    Op::End => { queue.end_turn(); turn.append(&mut later); later = std::mem::take(&mut turn); }
                    Op::Drain => { turn.append(&mut later); prop_assert_eq!(queue.drain(), std::mem::take(&mut turn)); }
                }
                prop_assert_eq!(queue.len(), turn.len() + later.len());
            }
        }
    }
}
