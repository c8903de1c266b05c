//! Tests of the write queue against a plain list of bytes.

use super::*;
use proptest::prelude::*;

#[test]
fn a_partial_send_keeps_the_rest_of_its_chunk() {
    let mut queue = WriteQueue::new();
    let mut spent = vec![];
    queue.push(b"abc".to_vec());
    queue.push(b"de".to_vec());
    queue.advance(2, &mut spent);
    assert!(spent.is_empty());
    assert_eq!((queue.first(), queue.len_bytes(), queue.chunks()), (&b"c"[..], 3, 2));
    queue.advance(2, &mut spent);
    assert_eq!(spent, [b"abc".to_vec()]);
    assert_eq!(queue.first(), b"e");
    assert_eq!(queue.take_all(), [b"de".to_vec()]);
    assert!(queue.is_empty());
}

#[test]
fn a_chunk_may_have_begun_before() {
    let (mut queue, mut spent) = (WriteQueue::new(), vec![]);
    queue.push_rest(b"abcdef".to_vec(), 4);
    queue.push(b"gh".to_vec());
    assert_eq!((queue.len_bytes(), queue.first()), (4, &b"ef"[..]));
    queue.advance(3, &mut spent);
    assert_eq!((queue.len_bytes(), queue.first()), (1, &b"h"[..]));
    assert_eq!(spent, [b"abcdef".to_vec()]);
    queue.advance(1, &mut spent);
    assert!(queue.is_empty());
}

#[test]
fn a_view_is_bounded_by_its_slots_and_by_the_limit() {
    let mut queue = WriteQueue::new();
    for byte in 0..100u8 {
        queue.push([byte]);
    }
    let mut few = [IoSlice::new(&[]); 3];
    assert_eq!(queue.slices(&mut few), 3);
    let mut many = [IoSlice::new(&[]); 100];
    assert_eq!(queue.slices(&mut many), MAX_SLICES);
    assert_eq!(&*many[63], [63]);
}

#[derive(Debug, Clone)]
enum Op {
    Push(Vec<u8>),
    Advance(usize),
    TakeAll,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Op::Push),
        6 => (0..40usize).prop_map(Op::Advance),
        1 => Just(Op::TakeAll),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_list_of_bytes(ops in proptest::collection::vec(op(), 0..100)) {
        let mut queue = WriteQueue::new();
        let mut model: Vec<u8> = vec![];
        let (mut pushed, mut out) = (vec![], vec![]);
        for op in ops {
            match op {
                Op::Push(chunk) => {
                    model.extend(&chunk);
                    pushed.push(chunk.clone());
                    queue.push(chunk);
                }
                Op::Advance(n) => {
                    queue.advance(n, &mut out);
                    model.drain(..n.min(model.len()));
                }
                Op::TakeAll => {
                    out.extend(queue.take_all());
                    model.clear();
                }
            }
            prop_assert_eq!(queue.len_bytes(), model.len());
            prop_assert_eq!(queue.is_empty(), model.is_empty());
            let mut slots = [IoSlice::new(&[]); MAX_SLICES];
            let filled = queue.slices(&mut slots);
            let seen: Vec<u8> = slots[..filled].iter().flat_map(|slot| slot.to_vec()).collect();
            prop_assert!(model.starts_with(&seen));
            prop_assert!(seen.len() == model.len() || filled == MAX_SLICES);
        }
        // Every chunk comes out exactly once and in order.
        out.extend(queue.take_all());
        prop_assert_eq!(out, pushed);
    }
}
