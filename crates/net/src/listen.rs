//! Listening sockets. One socket a protocol, shared by all shards: the kernel gives each connection to
//! whichever shard accepts first. Not SO_REUSEPORT: it would let a second espush listen on the same port
//! unnoticed and take half of the devices.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use contract::Protocol;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::entrance::Transport;

/// Connections that may wait to be accepted: a whole site comes back at once after a power cut.
const BACKLOG: i32 = 4096;

/// Why listening failed. The text names the fix.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("cannot listen on {addr} for {name}: {error}. {}", advice(.name, error))]
    Bind {
        /// Which protocol.
        name: String,
        /// Which address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a shard: {error}")]
    Thread {
        /// What the system said.
        error: io::Error,
    },
}

fn advice(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("Another program has that port: stop it, or choose another with --set {name}.listen=ADDRESS:PORT")
        }
        io::ErrorKind::PermissionDenied => {
            format!("Ports below 1024 need root: choose another with --set {name}.listen=ADDRESS:PORT")
        }
        _ => format!("Check the address: --set {name}.listen=ADDRESS:PORT, or \"\" to turn it off"),
    }
}

/// A bound listening socket.
pub struct Listener {
    name: String,
    protocol: Protocol,
    transport: Transport,
    socket: std::net::TcpListener,
    addr: SocketAddr,
}

/// A shard's share of a listener.
pub(crate) struct Door {
    pub protocol: Protocol,
    pub transport: Transport,
    pub socket: std::net::TcpListener,
}

impl Listener {
    /// Listens on `addr` (port 0 takes a free one) for `protocol`, as it is.
    pub fn bind(protocol: &Protocol, addr: SocketAddr) -> Result<Listener, ListenError> {
        Listener::bind_with(protocol.name, protocol, Transport::default(), addr)
    }

    /// Listens on `addr` for `protocol` in `transport`; the configuration calls this listener `name`.
    pub fn bind_with(name: &str, protocol: &Protocol, transport: Transport, addr: SocketAddr) -> Result<Listener, ListenError> {
        let (socket, addr) = bind(name, addr)?;
        // Accepted sockets take this over, which saves five system calls for each.
        tune(&socket);
        Ok(Listener { name: name.to_owned(), protocol: *protocol, transport, socket, addr })
    }

    /// What the configuration calls it: the protocol's name, or that with `.tls`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same socket for another shard.
    pub(crate) fn share(&self) -> Result<Door, ListenError> {
        let fail = |error| ListenError::Bind { name: self.name.clone(), addr: self.addr, error };
        let socket = self.socket.try_clone().map_err(fail)?;
        Ok(Door { protocol: self.protocol, transport: self.transport.clone(), socket })
    }
}

/// Binds and listens for what the configuration calls `name`, and tells the bound address. With
/// SO_REUSEADDR, so that a restart need not wait for old connections to fade.
pub fn bind(name: &str, addr: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), ListenError> {
    let listen = || -> io::Result<(std::net::TcpListener, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket: std::net::TcpListener = socket.into();
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    listen().map_err(|error| ListenError::Bind { name: name.to_owned(), addr, error })
}

/// Small messages leave at once; a dead line is noticed even when the protocol has no keep-alive.
pub(crate) fn tune(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(30)).with_retries(4);
    if let Err(error) = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive)) {
        tracing::debug!(%error, "cannot tune a socket");
    }
}

/// Lifts the process's limit of open files as far as it may go, and returns it: every device is one.
pub fn raise_open_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, most).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_are_tuned_like_their_listener() {
        let (listener, addr) = bind("mqtt", SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(false).unwrap();
        tune(&listener);
        let _line = std::net::TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(300));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    }
}
