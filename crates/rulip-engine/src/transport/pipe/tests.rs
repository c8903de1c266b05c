//! The state machine of writing ends, without a pipe.

use super::*;

type Sample = PipeWriter<Vec<u8>>;

#[test]
fn what_the_kernel_refuses_waits_in_order() {
    let mut pipe = Sample::new();
    let mut spent = Vec::new();
    assert!(pipe.may_write_now());
    pipe.queue(vec![1, 2]);
    pipe.queue(vec![3]);
    assert!(!pipe.may_write_now());
    assert_eq!((pipe.buffered(), pipe.unsent().first()), (3, &[1, 2][..]));
    pipe.handle_sent(1, &mut spent);
    assert_eq!((pipe.buffered(), pipe.unsent().first(), spent.len()), (2, &[2][..], 0));
    pipe.handle_sent(2, &mut spent);
    assert_eq!((spent, pipe.may_write_now()), (vec![vec![1, 2], vec![3]], true));
}

#[test]
fn flow_follows_the_marks() {
    let mut pipe = Sample::default();
    let mut spent = Vec::new();
    pipe.set_limits(Some(4), Some(1)).unwrap();
    assert_eq!(pipe.limits(), (1, 4));
    pipe.queue(vec![0; 4]);
    assert_eq!(pipe.poll_flow(), None);
    pipe.queue(vec![0; 1]);
    assert_eq!(pipe.poll_flow(), Some(FlowEvent::PauseWriting));
    pipe.handle_sent(3, &mut spent);
    assert_eq!(pipe.poll_flow(), None);
    pipe.handle_sent(1, &mut spent);
    assert_eq!(pipe.poll_flow(), Some(FlowEvent::ResumeWriting));
    assert!(pipe.set_limits(Some(1), Some(2)).is_err());
}

#[test]
fn closing_waits_for_the_queue_and_happens_once() {
    let mut pipe = Sample::new();
    pipe.queue(vec![1]);
    assert_eq!(pipe.write_eof(), CloseDuty::AfterFlush);
    assert_eq!(pipe.write_eof(), CloseDuty::Ignored);
    assert!(pipe.is_closing() && !pipe.poll_drained());
    pipe.handle_sent(1, &mut Vec::new());
    assert!(pipe.poll_drained() && !pipe.poll_drained());
    assert_eq!(pipe.abort(&mut Vec::new()), CloseDuty::Ignored);
    pipe.handle_lost();
    assert!(pipe.is_lost());
}

#[test]
fn an_empty_end_closes_at_once_and_an_aborted_one_hands_its_bytes_back() {
    assert_eq!(Sample::new().write_eof(), CloseDuty::LoseSoon);
    let mut pipe = Sample::new();
    pipe.queue(vec![1]);
    let mut spent = Vec::new();
    assert_eq!(pipe.abort(&mut spent), CloseDuty::LoseSoon);
    assert_eq!((spent, pipe.buffered()), (vec![vec![1]], 0));
    assert_eq!((pipe.handle_ignored(), pipe.handle_ignored()), (0, 1));
}
