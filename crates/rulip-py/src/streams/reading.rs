//! What a read takes out of the buffer, or what it must wait for.
//!
//! Each `try_*` is one round of asyncio's method: it returns what was asked for, raises, or says what to
//! wait for; nothing is taken unless it is returned. Not here: waiting (`read.rs`). Owner thread.

use super::reader::{Reader, Want};
use super::scan::Separators;
use super::stock;
use crate::ffi::{Obj, Raised, Ref, Res, value};

/// One round of a read.
pub(super) enum Round {
    Done(Obj),
    Wait(Want),
}

const TOO_LONG: &str = "Separator is found, but chunk is longer than limit";
const NOT_FOUND: &str = "Separator is not found, and chunk exceed the limit";

impl Ref<Reader> {
    /// Whether what `want` stands for can go on: to its result, or to an error.
    pub(super) fn is_satisfied(&self) -> bool {
        if self.eof.get() {
            return true;
        }
        let limit = self.limit.get();
        match self.want.get() {
            Want::News => true,
            Want::End => false,
            Want::AtMost(_) => self.len() > 0,
            Want::Exactly(n) => self.len() >= n,
            Want::Line => {
                let mut buffer = self.buffer.borrow_mut();
                buffer.line_feed().is_some() || buffer.len() > limit
            }
            Want::Separator => {
                let buffer = self.buffer.borrow();
                let separators = self.separators.borrow();
                let Some(separators) = separators.as_ref() else { return true };
                let offset = self.looked_through.get();
                if buffer.len() < offset + separators.shortest() {
                    return false;
                }
                if separators.find(buffer.bytes(), offset).is_some() {
                    return true;
                }
                let offset = (buffer.len() + 1).saturating_sub(separators.longest());
                self.looked_through.set(offset);
                offset > limit
            }
        }
    }

    /// One round for `want`.
    pub(super) fn round(&self, want: Want) -> Res<Round> {
        self.settle();
        self.load()?;
        match want {
            Want::News => Ok(Round::Done(Obj::none())),
            Want::Line => self.try_line(),
            Want::Separator => self.try_separator(),
            Want::Exactly(n) => self.try_exactly(n),
            Want::AtMost(n) => self.try_some(n),
            Want::End => self.try_end(),
        }
    }

    /// Takes `count` bytes off the front.
    fn take(&self, count: usize) -> Res<Obj> {
        let taken = self.buffer.borrow_mut().take(count)?;
        self.dropped_front(count)?;
        Ok(taken)
    }

    fn take_all(&self) -> Res<Obj> {
        let all = self.buffer.borrow().len();
        self.take(all)
    }

    fn drop_front(&self, count: usize) -> Res<()> {
        self.buffer.borrow_mut().consume(count);
        self.dropped_front(count)
    }

    fn dropped_front(&self, count: usize) -> Res<()> {
        self.looked_through.set(self.looked_through.get().saturating_sub(count));
        self.save()
    }

    fn taken(&self, count: usize) -> Res<Round> {
        let taken = self.take(count)?;
        self.resume_if_low()?;
        Ok(Round::Done(taken))
    }

    fn try_line(&self) -> Res<Round> {
        let limit = self.limit.get();
        let found = self.buffer.borrow_mut().line_feed();
        match found {
            Some(at) if at <= limit => self.taken(at + 1),
            Some(at) => self.overrun_line(TOO_LONG, at, at + 1),
            None => {
                let len = self.buffer.borrow().len();
                if len > limit {
                    return self.overrun_line(NOT_FOUND, len, len);
                }
                if self.eof.get() {
                    return self.take_all().map(Round::Done);
                }
                Ok(Round::Wait(Want::Line))
            }
        }
    }

    /// `readline` drops what is too long, and raises `ValueError`.
    #[cold]
    fn overrun_line(&self, text: &str, consumed: usize, dropped: usize) -> Res<Round> {
        let cause = overrun(text, consumed)?;
        self.drop_front(dropped)?;
        self.resume_if_low()?;
        let exc = Raised::value_error(text).take();
        exc.set_context(Some(cause));
        Err(Raised::restore(exc))
    }

    fn try_separator(&self) -> Res<Round> {
        let limit = self.limit.get();
        let (found, len) = {
            let mut buffer = self.buffer.borrow_mut();
            let separators = self.separators.borrow();
            let Some(separators) = separators.as_ref() else {
                return Ok(Round::Wait(Want::Separator));
            };
            let offset = self.looked_through.get();
            let found = match &**separators {
                Separators::LineFeed => buffer.line_feed().map(|at| at..at + 1),
                others => others.find(buffer.bytes(), offset),
            };
            let len = buffer.len();
            if found.is_none() && len >= offset + separators.shortest() {
                self.looked_through.set((len + 1).saturating_sub(separators.longest()));
            }
            (found, len)
        };
        if let Some(found) = found {
            if found.start > limit {
                return Err(Raised::from_exception(&overrun(TOO_LONG, found.start)?));
            }
            return self.taken(found.end);
        }
        let offset = self.looked_through.get();
        if offset > limit {
            return Err(Raised::from_exception(&overrun(NOT_FOUND, offset)?));
        }
        if self.eof.get() {
            debug_assert!(len == self.buffer.borrow().len());
            return Err(self.incomplete(&Obj::none()));
        }
        Ok(Round::Wait(Want::Separator))
    }

    /// The end came too early: what there is goes with the error.
    #[cold]
    fn incomplete(&self, expected: &Obj) -> Raised {
        let made = self
            .take_all()
            .and_then(|partial| stock().incomplete_read_error.call(&[&partial, expected]));
        match made {
            Ok(exc) => Raised::from_exception(&exc),
            Err(raised) => raised,
        }
    }

    fn try_exactly(&self, n: usize) -> Res<Round> {
        if self.len() >= n {
            return self.taken(n);
        }
        if self.eof.get() {
            let expected = value::int(i64::try_from(n).unwrap_or(i64::MAX))?;
            return Err(self.incomplete(&expected));
        }
        Ok(Round::Wait(Want::Exactly(n)))
    }

    fn try_some(&self, n: usize) -> Res<Round> {
        let len = self.len();
        if len == 0 && !self.eof.get() {
            return Ok(Round::Wait(Want::AtMost(n)));
        }
        self.taken(n.min(len))
    }

    /// Everything until the end. It stays in the buffer until then: a read that is cancelled loses
    /// nothing.
    fn try_end(&self) -> Res<Round> {
        if let Some(exc) = self.exception.get() {
            return Err(Raised::from_exception(&exc));
        }
        if self.eof.get() {
            return self.take_all().map(Round::Done);
        }
        Ok(Round::Wait(Want::End))
    }
}

fn overrun(text: &str, consumed: usize) -> Res<Obj> {
    let consumed = value::int(i64::try_from(consumed).unwrap_or(i64::MAX))?;
    stock().limit_overrun_error.call(&[&value::str(text)?, &consumed])
}
