//! The state machine of files being sent, without a file.

use super::*;

const ENDLESS: u64 = u64::MAX;

/// The pieces of one turn, of which the kernel takes at most `takes` bytes each.
fn turn(sender: &mut FileSender, takes: usize) -> Vec<Piece> {
    sender.handle_turn();
    let mut pieces = Vec::new();
    while let Some(piece) = sender.poll_piece() {
        pieces.push(piece);
        sender.handle_sent(piece, piece.len.min(takes));
    }
    pieces
}

fn send(sender: &mut FileSender, n: usize) -> Piece {
    let piece = sender.poll_piece().expect("not over");
    sender.handle_sent(piece, n);
    piece
}

#[test]
fn a_count_is_sent_to_its_last_byte() {
    let mut sender = FileSender::new(7, Some(10), ENDLESS);
    for (offset, len) in [(7, 10), (11, 6), (15, 2)] {
        assert!(!sender.is_over());
        assert_eq!(turn(&mut sender, 4), [Piece { offset, len }]);
    }
    assert!(sender.is_over());
    assert_eq!(sender.sent(), 10);
}

#[test]
fn without_a_count_the_files_end_ends_it_in_the_same_turn() {
    let mut sender = FileSender::new(0, None, 5);
    send(&mut sender, 5);
    assert_eq!(send(&mut sender, 0), Piece { offset: 5, len: PER_TURN - 5 });
    assert!(sender.is_over() && sender.poll_piece().is_none());
    assert_eq!(sender.sent(), 5);
}

#[test]
fn a_file_that_grows_is_sent_as_far_as_it_goes() {
    let mut sender = FileSender::new(0, None, 5);
    for n in [5, 3, 0] {
        send(&mut sender, n);
    }
    assert!(sender.is_over());
    assert_eq!(sender.sent(), 8);
}

#[test]
fn a_full_socket_ends_the_turns_share() {
    let mut sender = FileSender::new(0, None, 100);
    send(&mut sender, 60);
    assert!(sender.poll_piece().is_none() && !sender.is_over());
    sender.handle_turn();
    assert_eq!(send(&mut sender, 40).offset, 60);
}

#[test]
fn a_turn_sends_its_share_and_the_next_one_goes_on() {
    let all = 3 * PER_TURN as u64 - 1;
    let mut sender = FileSender::new(0, Some(all), all);
    let mut turns = 0;
    while !sender.is_over() {
        let sent: usize = turn(&mut sender, usize::MAX).iter().map(|piece| piece.len).sum();
        assert!((1..=PER_TURN).contains(&sent));
        turns += 1;
    }
    assert_eq!((turns, sender.sent()), (3, all));
}

#[test]
fn offsets_beyond_four_gigabytes_and_counts_beyond_memory() {
    let far = u64::from(u32::MAX) * 3;
    let mut sender = FileSender::new(far, Some(ENDLESS), far + 10);
    send(&mut sender, 10);
    assert_eq!(sender.poll_piece(), Some(Piece { offset: far + 10, len: PER_TURN - 10 }));
}

#[test]
fn a_failure_and_an_empty_request_are_over() {
    let mut sender = FileSender::new(0, None, ENDLESS);
    sender.handle_failed();
    assert!(sender.is_over() && sender.poll_piece().is_none());
    assert!(FileSender::new(9, Some(0), ENDLESS).is_over());
}
