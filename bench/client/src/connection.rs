//! A connection to the server: plain TCP, or TLS over it.
//!
//! Not here: what is sent and what must come back (`load.rs`, `reply.rs`). Thread: main. Invariant: reading and
//! writing never block once the connection is made; "would block" says that the socket has nothing, or
//! takes nothing, now.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// One end of a connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

pub(crate) struct Tls {
    tcp: TcpStream,
    session: ClientConnection,
}

/// What TLS connections have in common: who may vouch for the server.
pub(crate) fn trusting(authority: &str) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut BufReader::new(File::open(authority)?)) {
        roots.add(certificate?).map_err(io::Error::other)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

impl Stream {
    /// Connects, and shakes hands where there is a configuration for it.
    pub(crate) fn connect(port: u16, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        tcp.set_nodelay(true)?;
        let Some(config) = tls else {
            tcp.set_nonblocking(true)?;
            return Ok(Self::Plain(tcp));
        };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        tcp.set_nonblocking(true)?;
        Ok(Self::Tls(Box::new(Tls { tcp, session })))
    }

    /// Whether bytes may wait that the kernel does not tell of.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether records wait for the socket to take them.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.session.wants_write())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(tcp) => tcp.as_fd(),
            Self::Tls(tls) => tls.tcp.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let tls = match self {
            Self::Plain(tcp) => return tcp.read(buffer),
            Self::Tls(tls) => tls,
        };
        loop {
            match tls.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if tls.session.read_tls(&mut tls.tcp)? == 0 {
                return Ok(0);
            }
            tls.session.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Write for Stream {
    /// TLS takes everything, and writes as much of it as the socket takes.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(data),
            Self::Tls(tls) => {
                let count = tls.session.writer().write(data)?;
                self.flush()?;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Self::Tls(tls) = self else { return Ok(()) };
        while tls.session.wants_write() {
            match tls.session.write_tls(&mut tls.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
