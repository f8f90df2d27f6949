//! How a connection comes in where something lies between its socket and its protocol: the PROXY header is
//! read and the TLS handshake done before the house hears of it, all within the login deadline.
//! A plain connection never comes by here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use contract::{Close, Fault, Login};
use tokio::net::TcpStream;

use crate::certificates::TlsServer;
use crate::layer::{Flow, Layer};
use crate::proxy;
use crate::tls::Tls;

/// What one read takes while a connection comes in: a handshake's messages are small.
const READ_BYTES: usize = 2048;

/// What lies between a listener's sockets and its protocol.
#[derive(Clone, Default)]
pub struct Transport {
    /// A PROXY protocol header comes first and tells who the peer is.
    pub proxy_protocol: bool,
    /// TLS.
    pub tls: Option<Arc<TlsServer>>,
}

impl Transport {
    /// Nothing: bytes are as they are.
    pub fn is_plain(&self) -> bool {
        !self.proxy_protocol && self.tls.is_none()
    }
}

/// A connection that has come in.
pub struct Entered {
    /// The peer, as the PROXY header told it.
    pub remote: SocketAddr,
    /// The TLS layer, open.
    pub tls: Option<Tls>,
    /// Who the peer is, by the certificate that it has shown.
    pub login: Option<Login>,
    /// What the peer has already sent for the protocol.
    pub plain: Vec<u8>,
}

/// Does what `transport` wants before the protocol's first byte, `within` so long.
pub async fn enter(stream: &TcpStream, transport: &Transport, remote: SocketAddr, within: Duration) -> Result<Entered, Close> {
    let entering = async {
        let mut entered = Entered { remote, tls: None, login: None, plain: Vec::new() };
        if transport.proxy_protocol {
            (entered.remote, entered.plain) = read_header(stream, remote).await?;
        }
        if let Some(server) = &transport.tls {
            let early = std::mem::take(&mut entered.plain);
            let tls = shake_hands(stream, server.accept()?, server.uses_psk(), early, &mut entered.plain).await?;
            entered.login = tls.certified().map(|device| Login::Certified { device });
            entered.tls = Some(tls);
        }
        Ok(entered)
    };
    match tokio::time::timeout(within, entering).await {
        Ok(result) => result,
        Err(_) => {
            let awaited = if transport.tls.is_some() { "TLS handshake" } else { "PROXY header" };
            let why = format!("sent no whole {awaited} within {} s", within.as_secs());
            Err(Close { fault: Fault::Line, why: why.into() })
        }
    }
}

/// Reads the PROXY header: the real peer, and what followed.
async fn read_header(stream: &TcpStream, remote: SocketAddr) -> Result<(SocketAddr, Vec<u8>), Close> {
    let mut input = Vec::new();
    loop {
        read_more(stream, &mut input).await?;
        match proxy::parse(&input) {
            Ok(Some(header)) => return Ok((header.source.unwrap_or(remote), input.split_off(header.bytes))),
            Ok(None) => {}
            Err(error) => return Err(Close { fault: Fault::Peer, why: error.to_string().into() }),
        }
    }
}

/// Does the handshake, `apart` from the shard where a step may have to look up a key. What the peer sends
/// right behind it goes into `plain`.
pub(crate) async fn shake_hands(
    stream: &TcpStream,
    mut tls: Tls,
    apart: bool,
    early: Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<Tls, Close> {
    let (mut input, mut answer) = (early, Vec::new());
    loop {
        if input.is_empty() {
            read_more(stream, &mut input).await?;
        }
        let flow = if apart {
            let bytes = std::mem::take(&mut input);
            let step = tokio::task::spawn_blocking(move || {
                let (mut plain, mut answer) = (Vec::new(), Vec::new());
                let flow = tls.receive(&bytes, &mut plain, &mut answer);
                (tls, plain, answer, flow)
            });
            let Ok((stepped, more, said, flow)) = step.await else { return Err(line("the handshake was given up")) };
            tls = stepped;
            plain.extend(more);
            answer.extend(said);
            flow
        } else {
            tls.receive(&input, plain, &mut answer)
        };
        input.clear();
        // An alert is worth sending, too: it tells the client what was wrong.
        write_all(stream, &answer).await?;
        answer.clear();
        match flow? {
            _ if tls.is_open() => return Ok(tls),
            Flow::Open => {}
            Flow::Ended => return Err(line("the peer hung up during the TLS handshake")),
        }
    }
}

async fn read_more(stream: &TcpStream, input: &mut Vec<u8>) -> Result<(), Close> {
    let mut block = [0; READ_BYTES];
    loop {
        stream.readable().await.map_err(|_| line("the line broke"))?;
        match stream.try_read(&mut block) {
            Ok(0) => return Err(line("the peer hung up before it had come in")),
            Ok(count) => {
                input.extend_from_slice(&block[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(line("the line broke")),
        }
    }
}

pub(crate) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> Result<(), Close> {
    while !bytes.is_empty() {
        stream.writable().await.map_err(|_| line("the line broke"))?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(line("the line broke")),
        }
    }
    Ok(())
}

fn line(why: &'static str) -> Close {
    Close { fault: Fault::Line, why: why.into() }
}
