//! Connections to other people's servers, one for one errand: the name is looked up, each address is shown to whoever
//! decides about it, and the one that was accepted is the one that is called. Deliberately absent: what is said on it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpStream, lookup_host};

use crate::entrance::{Entered, shake_hands, write_all};
use crate::stream::Stream;
use crate::trust::TlsClient;

/// Connects to `host`, in TLS if there is any. `refused` says why an address is not called. The caller sets the time.
pub async fn call(
    host: &str,
    port: u16,
    tls: Option<&TlsClient>,
    refused: impl Fn(IpAddr) -> Option<&'static str>,
) -> Result<Stream, String> {
    let unknown = |error: io::Error| format!("the name {host} cannot be looked up: {error}");
    let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(unknown)?.collect();
    let mut why = format!("the name {host} has no address");
    for addr in found {
        if let Some(what) = refused(addr.ip()) {
            why = format!("{host} is at {}, which is not called: it is {what}", addr.ip());
            continue;
        }
        match TcpStream::connect(addr).await {
            Ok(stream) => return enter(stream, addr, host, tls).await,
            Err(error) => why = format!("cannot reach {host} at {addr}: {error}"),
        }
    }
    Err(why)
}

async fn enter(stream: TcpStream, remote: SocketAddr, host: &str, tls: Option<&TlsClient>) -> Result<Stream, String> {
    // Small requests leave at once; that it cannot be said so is no reason to fail.
    let _ = stream.set_nodelay(true);
    let mut entered = Entered { remote, tls: None, login: None, plain: Vec::new() };
    if let Some(client) = tls {
        let mut hello = Vec::new();
        let tls = client.call(&mut hello).map_err(|error| format!("no TLS with {host}: {error}"))?;
        let failed = |close: contract::Close| format!("no TLS with {host}: {}", close.why);
        write_all(&stream, &hello).await.map_err(failed)?;
        entered.tls = Some(shake_hands(&stream, tls, false, Vec::new(), &mut entered.plain).await.map_err(failed)?);
    }
    Ok(Stream::new(stream, entered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_refused_is_never_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refused = |ip: IpAddr| ip.is_loopback().then_some("this machine");
        let error = call("127.0.0.1", port, None, refused).await.err().unwrap();
        assert_eq!(error, "127.0.0.1 is at 127.0.0.1, which is not called: it is this machine");
        assert!(call("localhost", port, None, refused).await.err().unwrap().contains("which is not called"));
        // The first to arrive is the one that was allowed.
        let (allowed, arrived) = tokio::join!(call("localhost", port, None, |_| None), listener.accept());
        assert!(allowed.is_ok() && arrived.is_ok());
    }
}
