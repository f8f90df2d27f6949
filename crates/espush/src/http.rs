//! Carries HTTP, plain and in TLS: accepts connections for the API and the console, with limits that the framework leaves
//! to its host (how many connections, how long a request may take to arrive), and ends them in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::limits;
use net::{Stream, Transport};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(limits::LOGIN_S_MAX);

/// Serves `router` in `transport` until `stop` is done; then lets open requests finish within `grace`.
pub async fn serve(
    listener: std::net::TcpListener,
    transport: Transport,
    router: Router,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files or memory: the connection stays in the backlog; trying at once would only spin.
                tracing::warn!(%error, "cannot accept HTTP connections; raise the open-file limit (ulimit -n)");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        // Beyond the limit the connection is closed unread, which costs us least.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "cannot tune a socket");
        }
        let (router, transport, mut stopped) = (router.clone(), transport.clone(), stopped.clone());
        tokio::spawn(async move {
            let stream = tokio::select! {
                entered = net::enter(&stream, &transport, remote, HANDSHAKE) => match entered {
                    Ok(entered) => Stream::new(stream, entered),
                    Err(close) => {
                        tracing::debug!(%remote, fault = close.fault.as_str(), "{}", close.why);
                        return;
                    }
                },
                () = async { drop(stopped.wait_for(|stop| *stop).await) } => return,
            };
            let service = router.map_request(move |mut request: axum::http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(ConnectInfo::<SocketAddr>(remote));
                request.map(axum::body::Body::new)
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(limits::HTTP_HEADER_S_MAX))
                .max_buf_size(limits::HTTP_HEADER_BYTES_MAX);
            let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
            tokio::pin!(connection);
            let result = tokio::select! {
                result = &mut connection => result,
                () = async { drop(stopped.wait_for(|stop| *stop).await) } => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%remote, %error, "an HTTP connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = stopping.send(true);
    // Every connection holds a place: having them all means that none is left.
    let all = places.acquire_many(limits::HTTP_CONNECTIONS_MAX as u32);
    if tokio::time::timeout(grace, all).await.is_err() {
        tracing::info!("some HTTP requests did not finish in time");
    }
    Ok(())
}

/// Small answers leave at once. One who does not read what it asked for, or has gone without a word, is
/// noticed by the kernel: nobody here waits for it by the clock.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(Duration::from_secs(limits::HTTP_UNREAD_S_MAX)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_kernel_ends_a_peer_that_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream).unwrap();
        let timeout = SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(limits::HTTP_UNREAD_S_MAX)));
    }
}
