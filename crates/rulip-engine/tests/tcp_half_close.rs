//! Half-closed TCP connections: each direction ends by itself.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use rulip_engine::transport::stream::WriteDuty;
use support::pair;

#[test]
fn we_can_answer_after_the_peer_has_ended() {
    let (mut connection, mut peer) = pair();
    peer.write_all(b"question").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let duty = connection.stream.start_reading();
    connection.read_duty(duty);
    connection.run_until(|c| c.eof);
    assert_eq!(connection.received, b"question");

    assert_eq!(connection.stream.write(b"answer".to_vec()), WriteDuty::Deferred);
    let duty = connection.stream.close();
    connection.close_duty(duty);
    connection.flush();
    assert!(connection.stream.is_lost());
    let mut answer = vec![];
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
}

#[test]
fn the_peer_can_answer_after_we_have_ended() {
    let (mut connection, mut peer) = pair();
    assert_eq!(connection.stream.write(b"question".to_vec()), WriteDuty::Deferred);
    let duty = connection.stream.write_eof();
    connection.eof_duty(duty);
    connection.flush();
    let mut question = vec![];
    peer.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"question");

    peer.write_all(b"answer").unwrap();
    drop(peer);
    let duty = connection.stream.start_reading();
    connection.read_duty(duty);
    connection.run_until(|c| c.eof);
    assert_eq!(connection.received, b"answer");
}

#[test]
fn an_end_of_file_waits_for_megabytes_before_it() {
    let (mut connection, mut peer) = pair();
    let sent: Vec<u8> = (0..8_000_000u32).map(|n| n as u8).collect();
    for chunk in sent.chunks(1_000_000) {
        match connection.stream.write(chunk.to_vec()) {
            WriteDuty::FlushNow => connection.flush(),
            duty => assert_eq!(duty, WriteDuty::Blocked),
        }
    }
    assert!(connection.stream.buffered() > 0, "a peer that does not read holds bytes back");
    let duty = connection.stream.write_eof();
    connection.eof_duty(duty);
    let reader = thread::spawn(move || {
        let mut received = vec![];
        peer.read_to_end(&mut received).unwrap();
        received
    });
    connection.run_until(|c| c.stream.buffered() == 0);
    assert!(reader.join().unwrap() == sent, "the bytes and their order");
}
