//! A file on its way into a socket: which bytes are next, and when a turn has sent its share.
//!
//! What lives here: the part of the file that is left. What does not: descriptors and `sendfile`
//! (`sys::file`), and who is told. The owner thread runs it.
//!
//! | state | leaves by |
//! |---|---|
//! | sending | the last byte asked for, the file's end -> over; a failure -> over |
//! | over | - |
//!
//! Invariant: a turn sends at most [`PER_TURN`] bytes, however fast the peer reads: others want
//! theirs.

/// The most that is sent in one turn of the loop.
pub const PER_TURN: usize = 2048 * 1024;

/// What is to be sent next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where in the file it begins.
    pub offset: u64,
    /// At most so many bytes.
    pub len: usize,
}

/// What is left of a file to send.
#[derive(Debug)]
pub struct FileSender {
    offset: u64,
    /// Where the file ended when it was looked at; it may have grown.
    size: u64,
    /// Bytes asked for and not sent; without a number, all there are.
    left: Option<u64>,
    sent: u64,
    /// What this turn may still send.
    share: usize,
    over: bool,
}

impl FileSender {
    /// `count` bytes from `offset` on, or all, of a file that seems to have `size` bytes.
    pub fn new(offset: u64, count: Option<u64>, size: u64) -> Self {
        Self { offset, size, left: count, sent: 0, share: PER_TURN, over: count == Some(0) }
    }

    /// A turn begins.
    pub fn handle_turn(&mut self) {
        self.share = PER_TURN;
    }

    /// The next piece; none when all is sent, or all of this turn's share.
    #[must_use]
    pub fn poll_piece(&self) -> Option<Piece> {
        if self.over || self.share == 0 {
            return None;
        }
        let left = self.left.map_or(self.share, |left| usize::try_from(left).unwrap_or(self.share));
        Some(Piece { offset: self.offset, len: self.share.min(left) })
    }

    /// The kernel took `n` bytes of a piece; none is the end of the file.
    pub fn handle_sent(&mut self, piece: Piece, n: usize) {
        self.offset += n as u64;
        self.sent += n as u64;
        // Less than was asked, but not for want of a file: the socket is full. To fill up at once what
        // little it gets rid of would be many small calls.
        let full = n < piece.len && self.offset < self.size;
        self.share = if full { 0 } else { self.share.saturating_sub(n) };
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
        self.over |= n == 0 || self.left == Some(0);
    }

    /// Nothing more is to be sent.
    pub fn handle_failed(&mut self) {
        self.over = true;
    }

    /// True once nothing more will be sent.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
