//! Edges that come while nobody reads are served later, though the kernel tells them once.

mod support;

use std::io::Write;

use rulip_engine::Idle;
use rulip_engine::transport::stream::{ReadDuty, WriteDuty};
use support::pair;

#[test]
fn bytes_that_came_while_paused_are_read_on_resume() {
    let (mut connection, mut peer) = pair();
    assert_eq!(connection.stream.start_reading(), ReadDuty::None);
    assert!(connection.stream.pause_reading());
    peer.write_all(b"early").unwrap();
    // The first edge says "writable" and may come alone: turn until the other is latched.
    connection.turn(Idle::MayBlock);
    while connection.stream.resume_reading() == ReadDuty::None {
        assert!(connection.stream.pause_reading());
        connection.turn(Idle::MayBlock);
    }
    assert!(connection.received.is_empty());
    connection.read_duty(ReadDuty::ReadNow);
    assert_eq!(connection.received, b"early");
    assert!(!connection.stream.wants_read());
}

#[test]
fn reads_smaller_than_what_came_find_it_all() {
    for read_size in [1, 7, 1000] {
        let (mut connection, mut peer) = pair();
        connection.read_size = read_size;
        assert_eq!(connection.stream.start_reading(), ReadDuty::None);
        let sent = vec![b'x'; 1000];
        peer.write_all(&sent).unwrap();
        connection.run_until(|c| c.received.len() == 1000);
        assert!(!connection.eof);
        // The end has an edge of its own here, and none further after the last bytes below.
        peer.write_all(b"last").unwrap();
        drop(peer);
        connection.run_until(|c| c.eof);
        assert!(connection.received.ends_with(b"xlast"));
    }
}

#[test]
fn an_end_that_came_with_the_last_bytes_is_found_by_a_short_read() {
    let (mut connection, mut peer) = pair();
    peer.write_all(b"all").unwrap();
    drop(peer);
    // Nothing was read: bytes and end are both there by the time the latch is served.
    connection.turn(Idle::MayBlock);
    let duty = connection.stream.start_reading();
    connection.read_duty(duty);
    connection.run_until(|c| c.eof);
    assert_eq!(connection.received, b"all");
}

#[test]
fn room_in_a_full_socket_is_an_edge() {
    let (mut connection, mut peer) = pair();
    let mut written = 0;
    loop {
        written += 100_000;
        match connection.stream.write(vec![0; 100_000]) {
            WriteDuty::FlushNow => connection.flush(),
            WriteDuty::Blocked => break,
            duty => panic!("{duty:?}"),
        }
    }
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; written];
        std::io::Read::read_exact(&mut peer, &mut received).unwrap();
    });
    let duty = connection.stream.close();
    connection.close_duty(duty);
    assert!(!connection.stream.is_lost(), "what was written is sent first");
    connection.run_until(|c| c.stream.is_lost());
    reader.join().unwrap();
}
