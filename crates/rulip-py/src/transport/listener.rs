//! A listening socket: accepts in batches and makes a transport of each connection.
//!
//! Back-off and batches are decided by the engine's listener. A protocol factory that raises costs
//! its own connection, is reported, and nothing else. Owner thread.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rulip_engine::sys::address::Address;
use rulip_engine::sys::{clock, socket};
use rulip_engine::transport::{self, AcceptDuty};
use rulip_engine::{Interest, Token};

use super::extra_info::Addresses;
use super::stream::{Parts, Socket, StreamTransport};
use crate::ffi::context::{self, Entered};
use crate::ffi::native::{Native, TypeCell};
use crate::ffi::slot::Visit;
use crate::ffi::spec::TypeSpec;
use crate::ffi::{Obj, Raised, Ref, RefSlot, Res, Slot, descriptor, value};
use crate::loop_state::{Job, LoopState};
use crate::watcher::Target;
use crate::{failpoints, imports, names};

/// The body of `_rulip.Listener`.
pub(crate) struct Listener {
    loop_: RefSlot<LoopState>,
    socket: Slot,
    fd: RawFd,
    factory: Slot,
    server: Slot,
    context: Slot,
    state: RefCell<transport::Listener>,
    token: Cell<Option<Token>>,
}

static TYPE: TypeCell = TypeCell::new();

// SAFETY: every reference held is visited.
#[allow(unsafe_code, reason = "a promise about the layout or the collector, no operation")]
unsafe impl Native for Listener {
    fn type_cell() -> &'static TypeCell {
        &TYPE
    }

    fn traverse(&self, visit: &Visit) -> Result<(), c_int> {
        self.loop_.visit(visit)?;
        [&self.socket, &self.factory, &self.server, &self.context]
            .into_iter()
            .try_for_each(|slot| slot.visit(visit))
    }

    fn clear(&self) {
        drop(self.factory.take());
        drop(self.server.take());
        drop(self.socket.take());
        drop(self.context.take());
        drop(self.loop_.take());
    }
}

pub(crate) fn build() -> Res<Obj> {
    TypeSpec::new::<Listener>(c"rulip._rulip.Listener", c"A listening socket of a server.")
        .not_callable()
        .build(Listener::type_cell())
}

/// A socket's descriptor; asyncio's error for what is none.
pub(crate) fn number_of(sock: &Obj) -> Res<RawFd> {
    let number = sock.method0(&names::get().fileno)?;
    if value::is_int(&number) {
        return value::as_descriptor(&number);
    }
    Err(Raised::value_error(&format!("Invalid file object: {}", number.repr()?)))
}

impl Listener {
    /// Begins to accept on a listening Python socket.
    pub(crate) fn start(
        loop_: &Ref<LoopState>,
        sock: &Obj,
        factory: &Obj,
        backlog: usize,
        server: Option<Obj>,
    ) -> Res<()> {
        let fd = number_of(sock)?;
        let this = Ref::new(Self {
            loop_: RefSlot::new(Some(loop_.clone())),
            socket: Slot::new(Some(sock.clone())),
            fd,
            factory: Slot::new(Some(factory.clone())),
            server: Slot::new(server),
            context: Slot::new(Some(context::copy_current()?)),
            state: RefCell::new(transport::Listener::new(backlog)),
            token: Cell::new(None),
        })?;
        stop(loop_, fd);
        let registered =
            loop_.engine.register_level(fd, Interest::READABLE, Target::Listener(this.clone()));
        match registered {
            Ok(token) => {
                this.token.set(Some(token));
                Ok(())
            }
            Err((error, target)) => {
                drop(target);
                Err(crate::error::raise(error))
            }
        }
    }
}

/// Stops accepting on a descriptor; whether anybody did.
pub(crate) fn stop(loop_: &Ref<LoopState>, fd: RawFd) -> bool {
    let Some(token) = loop_.engine.find_fd(fd) else { return false };
    let listens = loop_.engine.with_target(token, |target| matches!(target, Target::Listener(_)));
    if listens != Some(true) {
        return false;
    }
    let target = loop_.engine.deregister(token);
    if let Some(Target::Listener(listener)) = &target {
        listener.token.set(None);
    }
    target.is_some()
}

impl Ref<Listener> {
    /// Connections wait.
    pub(crate) fn handle_readable(&self) -> Res<()> {
        self.state.borrow_mut().handle_readable();
        failpoints::reached(failpoints::ACCEPT);
        while self.token.get().is_some() && self.state.borrow().wants_accept() {
            match socket::accept(descriptor::lend(self.fd)?) {
                Ok((owned, peer)) => {
                    self.state.borrow_mut().handle_accepted();
                    self.serve(owned, peer.map(Address::from))?;
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let duty = self.state.borrow_mut().handle_accept_error(errno, clock::now());
                    match duty {
                        AcceptDuty::Stop => break,
                        AcceptDuty::Again => {}
                        AcceptDuty::BackOff { until, report } => {
                            self.back_off(until)?;
                            if report {
                                self.report("socket.accept() out of system resource", &error)?;
                            }
                            break;
                        }
                        AcceptDuty::Fail => {
                            self.stop_watching();
                            self.report(
                                "Fatal error: accept() on a listening socket failed",
                                &error,
                            )?;
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// One connection: a protocol, a transport. What must leave the loop comes back.
    fn serve(&self, owned: OwnedFd, peer: Option<Address>) -> Res<()> {
        let (Some(loop_), Some(factory), Some(context)) =
            (self.loop_.get(), self.factory.get(), self.context.get())
        else {
            return Ok(());
        };
        let local = socket::local_addr(owned.as_fd()).ok().map(Address::from);
        let context = context::copy_of(&context)?;
        let made = (|| {
            let _entered = Entered::new(&context)?;
            let protocol = factory.call0()?;
            let fd = owned.as_raw_fd();
            StreamTransport::make(
                &loop_,
                Parts {
                    socket: Socket::Native(owned),
                    fd,
                    addresses: Addresses { local, peer },
                    protocol,
                    waiter: None,
                    extra: None,
                    server: self.server.get(),
                },
            )
        })();
        match made {
            Ok(_transport) => Ok(()),
            Err(raised) if raised.leaves_the_loop() => Err(raised),
            Err(raised) => {
                let exc = raised.take();
                LoopState::report(
                    &loop_,
                    "Error on transport creation for incoming connection",
                    Some(&exc),
                    &[],
                )
            }
        }
    }

    fn back_off(&self, until: rulip_engine::Deadline) -> Res<()> {
        if let (Some(loop_), Some(token)) = (self.loop_.get(), self.token.get()) {
            loop_.engine.set_interest(token, Interest::NONE).map_err(crate::error::raise)?;
            loop_.engine.insert_timer(until, Job::Listener(self.clone()));
        }
        Ok(())
    }

    /// The back-off is over.
    pub(crate) fn retry(&self) -> Res<()> {
        self.state.borrow_mut().handle_retry();
        if let (Some(loop_), Some(token)) = (self.loop_.get(), self.token.get()) {
            loop_.engine.set_interest(token, Interest::READABLE).map_err(crate::error::raise)?;
        }
        Ok(())
    }

    fn stop_watching(&self) {
        if let (Some(loop_), Some(token)) = (self.loop_.get(), self.token.take()) {
            drop(loop_.engine.deregister(token));
        }
    }

    fn report(&self, message: &str, error: &std::io::Error) -> Res<()> {
        let Some(loop_) = self.loop_.get() else { return Ok(()) };
        let exc = crate::error::os_error(error)?;
        let socket = match self.socket.get() {
            Some(socket) => imports::get().transport_socket_class.call1(&socket)?,
            None => Obj::none(),
        };
        LoopState::report(&loop_, message, Some(&exc), &[(&names::get().socket, &socket)])
    }
}
