//! Tests of the poller on real descriptors.

use super::*;
use crate::sys::clock;
use crate::time::Deadline;

#[test]
fn every_wake_is_an_edge_without_draining() {
    let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
    poller.add_waker(&waker).unwrap();
    let mut events = Events::with_capacity(4);
    for _ in 0..3 {
        waker.wake().unwrap();
        waker.wake().unwrap();
        poller.wait(&mut events, None).unwrap();
        assert_eq!(events.iter().map(|e| e.token).collect::<Vec<_>>(), [Token::WAKER]);
        assert!(events.iter().all(Event::is_reserved));
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }
}

#[test]
fn a_timeout_is_never_cut_short() {
    for coarse in [false, true] {
        let poller = Poller::new().unwrap();
        poller.coarse.store(coarse, Ordering::Relaxed);
        let mut events = Events::with_capacity(4);
        for nanos in [1, 1_000, 300_000, 1_000_001] {
            let (begin, timeout) = (clock::now(), Duration::from_nanos(nanos));
            poller.wait(&mut events, Some(timeout)).unwrap();
            assert!(clock::now() >= Deadline(begin.0 + nanos), "{nanos} ns, coarse {coarse}");
            assert!(events.is_empty());
        }
    }
}

#[test]
fn bad_numbers_are_the_kernels_to_judge() {
    let poller = Poller::new().unwrap();
    for fd in [-1, 1_000_000] {
        let error = poller.add_level(fd, Token::new(0, 0), Interest::READABLE).unwrap_err();
        assert_eq!((error.op, error.raw_os_error()), ("epoll_ctl", Some(libc::EBADF)));
    }
}

#[test]
fn a_pipe_tells_reader_and_writer_apart() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let poller = Poller::new().unwrap();
    let (r, w) = (Token::new(1, 5), Token::new(2, 6));
    poller.add_level(reader.as_raw_fd(), r, Interest::READABLE).unwrap();
    poller.add_level(writer.as_raw_fd(), w, Interest::WRITABLE).unwrap();
    let mut events = Events::with_capacity(4);
    poller.wait(&mut events, None).unwrap();
    let event = events.iter().next().unwrap();
    assert_eq!((events.len(), event.token, event.readiness), (1, w, Readiness::WRITABLE));
    drop(writer);
    poller.wait(&mut events, None).unwrap();
    let event = events.iter().next().unwrap();
    assert_eq!((events.len(), event.token, event.readiness), (1, r, Readiness::HANGUP));
    poller.delete(reader.as_raw_fd()).unwrap();
    let gone = poller.delete(reader.as_raw_fd()).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENOENT));
}
