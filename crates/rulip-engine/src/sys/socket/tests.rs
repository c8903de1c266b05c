//! Tests of the socket calls on real sockets.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn bytes_cross_in_one_and_in_many_buffers() {
    let (a, b) = UnixStream::pair().unwrap();
    assert_eq!(send(a.as_fd(), b"hello").unwrap(), 5);
    assert_eq!(send_vectored(a.as_fd(), &[IoSlice::new(b", "), IoSlice::new(b"you")]).unwrap(), 5);
    assert_eq!(available(b.as_fd()).unwrap(), 10);
    let (mut first, mut second) = ([0; 4], [0; 16]);
    let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(recv_vectored(b.as_fd(), &mut bufs).unwrap(), 10);
    assert_eq!((&first[..], &second[..6]), (&b"hell"[..], &b"o, you"[..]));
    shutdown_write(a.as_fd()).unwrap();
    assert_eq!(recv(b.as_fd(), &mut first).unwrap(), 0);
}

#[test]
fn a_broken_pipe_is_an_errno() {
    let (a, b) = UnixStream::pair().unwrap();
    drop(b);
    assert_eq!(send(a.as_fd(), b"x").unwrap_err().raw_os_error(), Some(libc::EPIPE));
    let error = send_vectored(a.as_fd(), &[IoSlice::new(b"x")]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
}

#[test]
fn an_empty_socket_would_block() {
    let (a, _b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    assert!(would_block(&recv(a.as_fd(), &mut [0; 4]).unwrap_err()));
}

#[test]
fn accepted_sockets_do_not_block_and_know_their_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (fd, peer) = accept(listener.as_fd()).unwrap();
    assert_eq!(peer, Some(client.local_addr().unwrap().into()));
    assert_eq!(peer_addr(fd.as_fd()).unwrap(), peer);
    assert_eq!(local_addr(fd.as_fd()).unwrap(), listener.local_addr().unwrap().into());
    assert!(would_block(&recv(fd.as_fd(), &mut [0; 1]).unwrap_err()));
    set_nodelay(fd.as_fd(), true).unwrap();
    assert!(sockopt::tcp_nodelay(&fd).unwrap());
    assert!(take_error(fd.as_fd()).unwrap().is_none());
    shutdown_both(fd.as_fd()).unwrap();
    assert_eq!(recv(client.as_fd(), &mut [0; 1]).unwrap(), 0);
}
