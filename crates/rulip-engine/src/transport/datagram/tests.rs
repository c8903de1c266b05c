//! The state machine of datagram sockets, without a socket.

use super::*;

type Sample = Datagram<Vec<u8>, u8>;

fn open() -> Sample {
    let mut socket = Datagram::new(8);
    socket.start_reading();
    socket
}

#[test]
fn interest_follows_reading_and_the_queue() {
    let mut socket = Sample::new(8);
    assert_eq!(socket.interest(), Interest::NONE);
    socket.start_reading();
    assert_eq!(socket.interest(), Interest::READABLE);
    assert!(socket.pause_reading() && !socket.pause_reading());
    assert_eq!(socket.interest(), Interest::NONE);
    socket.queue(vec![1], 0);
    assert_eq!(socket.interest(), Interest::WRITABLE);
    assert!(socket.resume_reading() && !socket.resume_reading());
    assert_eq!(socket.interest(), Interest::BOTH);
    assert_eq!(socket.close(), CloseDuty::AfterFlush);
    assert_eq!(socket.interest(), Interest::WRITABLE);
    assert!(!socket.resume_reading() && !socket.pause_reading());
}

#[test]
fn a_single_datagram_costs_one_receive_and_a_burst_is_bounded() {
    let mut socket = open();
    socket.handle_readable();
    assert_eq!(socket.handle_received(), ReceiveDuty::Stop);
    socket.expect_burst();
    socket.handle_readable();
    for _ in 1..BUDGET {
        assert_eq!(socket.handle_received(), ReceiveDuty::Again);
    }
    assert_eq!(socket.handle_received(), ReceiveDuty::Stop);
    // Still in a burst, which ends when a wake-up brings but one.
    socket.handle_readable();
    assert_eq!(socket.handle_received(), ReceiveDuty::Again);
    socket.handle_receive_blocked();
    socket.handle_readable();
    assert_eq!(socket.handle_received(), ReceiveDuty::Stop);
}

#[test]
fn the_queue_keeps_order_and_counts_headers() {
    let mut socket = open();
    assert!(socket.may_send_now());
    socket.queue(vec![1, 2, 3], 7);
    socket.queue(vec![], 8);
    assert!(!socket.may_send_now());
    assert_eq!(socket.buffered(), 3 + 8 + 8);
    assert_eq!(socket.destinations().collect::<Vec<_>>(), [&7, &8]);
    assert_eq!(socket.first(), Some((&vec![1, 2, 3], &7)));
    assert_eq!(socket.handle_sent(), Some((vec![1, 2, 3], 7)));
    assert_eq!(socket.first(), Some((&vec![], &8)));
    assert_eq!(socket.handle_sent(), Some((vec![], 8)));
    assert_eq!((socket.buffered(), socket.handle_sent()), (0, None));
}

#[test]
fn flow_follows_the_marks() {
    let mut socket = open();
    socket.set_limits(Some(20), Some(10)).unwrap();
    assert_eq!(socket.limits(), (10, 20));
    socket.queue(vec![0; 12], 0);
    assert_eq!(socket.poll_flow(), None);
    socket.queue(vec![0; 1], 0);
    assert_eq!(socket.poll_flow(), Some(FlowEvent::PauseWriting));
    assert!(socket.handle_sent().is_some());
    assert_eq!(socket.poll_flow(), Some(FlowEvent::ResumeWriting));
    // A pause that nobody saw.
    socket.queue(vec![0; 30], 0);
    assert!(socket.handle_sent().is_some() && socket.handle_sent().is_some());
    assert_eq!(socket.poll_flow(), None);
    assert!(socket.set_limits(Some(1), Some(2)).is_err());
}

#[test]
fn closing_sends_what_is_queued_and_is_lost_once() {
    let mut socket = open();
    socket.queue(vec![1], 0);
    assert_eq!(socket.close(), CloseDuty::AfterFlush);
    assert_eq!(socket.close(), CloseDuty::Ignored);
    assert!(!socket.poll_drained() && !socket.is_losing());
    socket.queue(vec![2], 0);
    assert!(socket.handle_sent().is_some() && !socket.poll_drained());
    assert!(socket.handle_sent().is_some());
    assert!(socket.poll_drained() && !socket.poll_drained());
    assert_eq!(socket.abort(&mut Vec::new()), CloseDuty::Ignored);
    socket.handle_lost();
    assert!(socket.is_lost() && socket.is_closing());
}

#[test]
fn aborting_hands_the_queue_back() {
    let mut socket = open();
    socket.set_limits(Some(0), None).unwrap();
    socket.queue(vec![1], 5);
    let mut spent = Vec::new();
    assert_eq!(socket.abort(&mut spent), CloseDuty::LoseSoon);
    assert_eq!((spent, socket.buffered(), socket.poll_flow()), (vec![(vec![1], 5)], 0, None));
    assert_eq!(socket.close(), CloseDuty::Ignored);
    assert_eq!((socket.handle_ignored(), socket.handle_ignored()), (0, 1));
}
