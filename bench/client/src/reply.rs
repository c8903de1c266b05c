//! What the client expects: the message itself, or HTTP responses of a known length.
//!
//! Not here: connections and clocks. Thread: main. Invariant: a reply that is accepted had the right
//! length, and each part of it that can be known beforehand was right.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
const STATUS: &[u8] = b"HTTP/1.1 200 ";
const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST: usize = 1 << 20;

/// What comes back for one message.
pub(crate) enum Reply {
    /// Its bytes.
    Same(Vec<u8>),
    /// So many HTTP responses, each with a 200 and this long.
    Http { each: usize, count: usize },
}

impl Reply {
    /// The request that is sent `count` times at once, and what it must bring: asks the server once.
    pub(crate) fn of_http(port: u16, count: usize) -> io::Result<(Vec<u8>, Self)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST)?;
        let mut received = Vec::new();
        let each = loop {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece)?;
            if count == 0 || received.len() > LONGEST {
                return Err(io::Error::other("no complete HTTP response came"));
            }
            received.extend_from_slice(piece.get(..count).unwrap_or_default());
            if let Some(length) = length_of(&received)?
                && received.len() >= length
            {
                break length;
            }
        };
        if received.len() != each || !received.starts_with(STATUS) {
            return Err(io::Error::other("the HTTP response is not a 200 of its stated length"));
        }
        Ok((REQUEST.repeat(count), Self::Http { each, count }))
    }

    /// Bytes of a whole reply.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Same(message) => message.len(),
            Self::Http { each, count } => each * count,
        }
    }

    /// Whether `piece` may stand at `at` of the reply.
    pub(crate) fn continues(&self, at: usize, piece: &[u8]) -> bool {
        match self {
            Self::Same(message) => message.get(at..at + piece.len()) == Some(piece),
            Self::Http { each, .. } => {
                at + piece.len() <= self.len()
                    && statuses(*each, at, piece).all(|status| STATUS.starts_with(status))
            }
        }
    }
}

/// The parts of `piece` that must be the beginning of a response.
fn statuses(each: usize, at: usize, piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = at.next_multiple_of(each) - at;
    (first..piece.len())
        .step_by(each)
        .filter_map(move |start| piece.get(start..piece.len().min(start + STATUS.len())))
}

/// Header and body of the response that begins here, once the header is whole.
fn length_of(received: &[u8]) -> io::Result<Option<usize>> {
    let text = String::from_utf8_lossy(received);
    let Some(end) = text.find("\r\n\r\n") else { return Ok(None) };
    let body = text
        .get(..end)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    match body {
        Some(body) => Ok(Some(end + 4 + body)),
        None => Err(io::Error::other("the HTTP response has no Content-Length")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Reply, length_of};

    #[test]
    fn a_response_ends_where_its_header_says() {
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert!(matches!(length_of(response), Ok(Some(43))), "{:?}", length_of(response));
        assert!(matches!(length_of(b"HTTP/1.1 200 OK\r\nContent"), Ok(None)));
        assert!(length_of(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn each_response_of_a_batch_must_be_a_200() {
        let reply = Reply::Http { each: 16, count: 2 };
        assert_eq!(reply.len(), 32);
        assert!(reply.continues(0, b"HTTP/1.1 200 OK!HTTP/1.1 2"));
        assert!(reply.continues(26, b"00 OK"), "the middle of a response is not looked at");
        assert!(!reply.continues(0, b"HTTP/1.1 200 OK!HTTP/1.1 500"));
        assert!(!reply.continues(16, b"HTTP/1.1 404"));
        assert!(!reply.continues(16, b"HTTP/1.1 200 OK! and more"));
    }
}
