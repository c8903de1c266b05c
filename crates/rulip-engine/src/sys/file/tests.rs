//! A file into a socket, with a kernel.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

fn file_of(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create(c"file", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    let mut file = File::from(fd);
    file.write_all(bytes).expect("written");
    file
}

#[test]
fn a_part_is_sent_from_its_place() {
    let file = file_of(b"0123456789");
    let (near, mut far) = UnixStream::pair().unwrap();
    assert_eq!(send(near.as_fd(), file.as_fd(), 3, 4).unwrap(), 4);
    assert_eq!(send(near.as_fd(), file.as_fd(), 8, 100).unwrap(), 2);
    assert_eq!(send(near.as_fd(), file.as_fd(), 10, 100).unwrap(), 0);
    drop(near);
    let mut received = String::new();
    far.read_to_string(&mut received).unwrap();
    assert_eq!(received, "345689");
}

#[test]
fn a_full_socket_is_not_an_end() {
    let file = file_of(&[7; 1 << 20]);
    let (near, _far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let refused = loop {
        match send(near.as_fd(), file.as_fd(), sent, 1 << 20) {
            Ok(n) => sent += n as u64,
            Err(error) => break error,
        }
    };
    assert!(put_off(&refused) && sent > 0, "{refused}");
}

#[test]
fn what_has_no_bytes_to_map_is_refused() {
    let (near, _far) = UnixStream::pair().unwrap();
    let (pipe, _end) = UnixStream::pair().unwrap();
    let refused = send(near.as_fd(), pipe.as_fd(), 0, 1).unwrap_err();
    assert!(!put_off(&refused), "{refused}");
}
