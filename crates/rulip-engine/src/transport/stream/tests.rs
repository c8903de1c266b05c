//! Tests of the stream: its rules one by one, then against a simulated kernel.

use super::*;

mod simulation;

fn open() -> Stream<Vec<u8>> {
    Stream::new()
}

/// A stream with 10 bytes queued that the kernel refused.
fn blocked() -> Stream<Vec<u8>> {
    let mut stream = open();
    assert_eq!(stream.write(vec![0; 10]), WriteDuty::Deferred);
    stream.handle_send_blocked();
    stream
}

const NOTHING: Duties = Duties { read: false, flush: false };

#[test]
fn an_edge_before_the_start_is_served_by_it() {
    let mut stream = open();
    assert_eq!(stream.handle_readiness(Readiness::READABLE), NOTHING);
    assert_eq!(stream.start_reading(), ReadDuty::ReadNow);
    assert_eq!(stream.handle_received(3, 10), AfterRead::Drained);
    assert_eq!(stream.start_reading(), ReadDuty::None);
}

#[test]
fn an_edge_while_paused_is_served_on_resume() {
    let mut stream = open();
    assert_eq!(stream.start_reading(), ReadDuty::None);
    assert!(stream.pause_reading());
    assert!(!stream.pause_reading());
    assert_eq!(stream.handle_readiness(Readiness::READABLE), NOTHING);
    assert_eq!(stream.resume_reading(), ReadDuty::ReadNow);
    assert_eq!(stream.resume_reading(), ReadDuty::None, "it was not paused any more");
}

#[test]
fn a_pause_before_the_start_outlives_it() {
    let mut stream = open();
    assert!(stream.is_reading() && stream.pause_reading());
    assert_eq!(stream.handle_readiness(Readiness::READABLE), NOTHING);
    assert_eq!(stream.start_reading(), ReadDuty::None);
    assert_eq!(stream.resume_reading(), ReadDuty::ReadNow);
}

#[test]
fn only_a_full_read_or_a_hangup_asks_for_more() {
    let mut stream = open();
    assert_eq!(stream.start_reading(), ReadDuty::None);
    assert!(stream.handle_readiness(Readiness::READABLE).read);
    assert_eq!(stream.handle_received(10, 10), AfterRead::More);
    assert!(stream.wants_read());
    assert_eq!(stream.handle_received(9, 10), AfterRead::Drained);
    assert!(!stream.wants_read());

    assert!(stream.handle_readiness(Readiness::READABLE | Readiness::HANGUP).read);
    assert_eq!(stream.handle_received(9, 10), AfterRead::More, "the end has no edge of its own");
    stream.handle_eof();
    assert!(!stream.wants_read() && stream.is_read_eof() && stream.is_reading());
    assert_eq!(stream.handle_readiness(Readiness::READABLE | Readiness::HANGUP), NOTHING);
}

#[test]
fn a_read_that_would_block_waits_for_an_edge() {
    let mut stream = open();
    assert_eq!(stream.start_reading(), ReadDuty::None);
    assert!(stream.handle_readiness(Readiness::ERROR).read);
    stream.handle_read_blocked();
    assert!(!stream.wants_read());
    assert!(stream.handle_readiness(Readiness::READABLE).read);
    assert_eq!(stream.handle_received(1, 10), AfterRead::Drained);
}

#[test]
fn closing_stops_reading_for_good() {
    let mut stream = open();
    assert_eq!(stream.start_reading(), ReadDuty::None);
    assert_eq!(stream.close(), CloseDuty::LoseSoon);
    assert!(!stream.is_reading() && !stream.pause_reading());
    assert_eq!(stream.handle_readiness(Readiness::READABLE), NOTHING);
    assert_eq!(stream.resume_reading(), ReadDuty::None);
    assert_eq!(stream.close(), CloseDuty::Ignored);
    assert_eq!(stream.abort(&mut vec![]), CloseDuty::Ignored);
    assert_eq!(stream.poll_drained(), None, "the loss is under way");
    stream.handle_lost();
    assert!(stream.is_lost() && stream.is_closing());
}

#[test]
fn writes_are_gathered_until_there_is_enough() {
    let mut stream = open();
    assert_eq!(stream.write(vec![0; 10]), WriteDuty::Deferred);
    assert_eq!(stream.write(vec![0; FLUSH_AT_ONCE]), WriteDuty::FlushNow);
    assert!(stream.wants_flush());
    assert_eq!(stream.poll_flow(), None, "nothing was refused");
    stream.set_limits(Some(0), None).unwrap();
    assert_eq!(stream.poll_flow(), None);
    let mut spent = vec![];
    stream.handle_sent(stream.buffered(), &mut spent);
    assert_eq!((spent.len(), stream.wants_flush()), (2, false));
    assert_eq!(stream.write(vec![0; 1]), WriteDuty::FlushNow, "more than the high mark");
}

#[test]
fn an_empty_chunk_is_not_a_write() {
    let mut stream = open();
    assert_eq!(stream.write(vec![]), WriteDuty::Ignored(vec![]));
    assert_eq!(stream.close(), CloseDuty::LoseSoon);
    assert_eq!(stream.write(vec![]), WriteDuty::Ignored(vec![]));
    assert_eq!(stream.ignored_writes(), 0);
}

#[test]
fn refused_bytes_pause_the_writer_and_sent_ones_resume_it() {
    let mut stream = blocked();
    assert_eq!(stream.poll_flow(), None);
    stream.set_limits(Some(15), Some(5)).unwrap();
    assert_eq!(stream.write(vec![0; 10]), WriteDuty::Blocked);
    assert_eq!(stream.poll_flow(), Some(FlowEvent::PauseWriting));
    assert_eq!(stream.poll_flow(), None);
    let edge = stream.handle_readiness(Readiness::WRITABLE);
    assert_eq!(edge, Duties { read: false, flush: true });
    let mut spent = vec![];
    stream.handle_sent(14, &mut spent);
    stream.handle_send_blocked();
    assert_eq!((spent.len(), stream.poll_flow()), (1, None));
    assert!(stream.handle_readiness(Readiness::WRITABLE).flush);
    stream.handle_sent(1, &mut spent);
    stream.handle_send_blocked();
    assert_eq!(stream.poll_flow(), Some(FlowEvent::ResumeWriting));
}

#[test]
fn a_pause_nobody_saw_is_not_followed_by_a_resume() {
    let mut stream = blocked();
    stream.set_limits(Some(5), None).unwrap();
    stream.handle_sent(10, &mut vec![]);
    assert_eq!(stream.poll_flow(), None);
    assert_eq!(stream.write(vec![0; 6]), WriteDuty::FlushNow);
    stream.handle_send_blocked();
    assert_eq!(stream.poll_flow(), Some(FlowEvent::PauseWriting));
}

#[test]
fn a_writable_edge_flushes_only_what_was_refused() {
    let mut stream = open();
    assert_eq!(stream.write(vec![0; 10]), WriteDuty::Deferred);
    assert_eq!(stream.handle_readiness(Readiness::WRITABLE), NOTHING);
    assert!(stream.wants_flush());
}

#[test]
fn the_end_of_our_half_follows_the_queue() {
    let mut stream = open();
    assert_eq!(stream.write_eof(), EofDuty::ShutdownNow);
    assert_eq!(stream.write_eof(), EofDuty::Ignored);
    assert_eq!(stream.poll_drained(), None);

    let mut stream = blocked();
    assert_eq!(stream.write_eof(), EofDuty::AfterFlush);
    assert!(stream.is_eof_queued() && stream.is_reading());
    assert_eq!(stream.write(vec![1]), WriteDuty::Ignored(vec![1]));
    assert_eq!((stream.ignored_writes(), stream.poll_drained()), (1, None));
    stream.handle_sent(10, &mut vec![]);
    assert_eq!(stream.poll_drained(), Some(Drained::ShutdownWrite));
    assert_eq!(stream.poll_drained(), None);
}

#[test]
fn closing_sends_first_and_takes_the_place_of_an_end_of_file() {
    let mut stream = blocked();
    assert_eq!(stream.write_eof(), EofDuty::AfterFlush);
    assert_eq!(stream.close(), CloseDuty::AfterFlush);
    assert_eq!(stream.write_eof(), EofDuty::Ignored);
    stream.handle_sent(10, &mut vec![]);
    assert_eq!(stream.poll_drained(), Some(Drained::Lose));
    assert_eq!(stream.poll_drained(), None);
}

#[test]
fn a_closing_stream_accepts_writes_only_behind_refused_bytes() {
    let mut stream = blocked();
    assert_eq!(stream.close(), CloseDuty::AfterFlush);
    assert_eq!(stream.write(vec![1]), WriteDuty::Blocked);

    let mut stream = open();
    assert_eq!(stream.write(vec![0]), WriteDuty::Deferred);
    assert_eq!(stream.close(), CloseDuty::AfterFlush);
    assert_eq!(stream.write(vec![1]), WriteDuty::Ignored(vec![1]));
}

#[test]
fn an_abort_gives_the_queue_back() {
    let mut stream = blocked();
    let mut spent = vec![];
    assert_eq!(stream.close(), CloseDuty::AfterFlush);
    assert_eq!(stream.abort(&mut spent), CloseDuty::LoseSoon);
    assert_eq!((spent.len(), stream.buffered(), stream.poll_flow()), (1, 0, None));
    assert_eq!(stream.abort(&mut spent), CloseDuty::Ignored);
    assert_eq!(stream.poll_drained(), None);
    assert_eq!(stream.handle_readiness(Readiness::WRITABLE), NOTHING);
}

#[test]
fn what_was_queued_when_the_connection_was_lost_comes_out() {
    let mut stream = blocked();
    stream.handle_lost();
    assert_eq!(stream.handle_readiness(Readiness::WRITABLE | Readiness::READABLE), NOTHING);
    assert_eq!(stream.take_unsent(), [vec![0; 10]]);
}
