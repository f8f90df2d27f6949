//! A connection for the HTTP side of the house: tokio's reading and writing over a socket that may have a
//! TLS layer, and the way back to its parts, so that a WebSocket goes on at a shard like any connection.
//! Deliberately absent: HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::entrance::Entered;
use crate::layer::{Flow, Layer};
use crate::tls::Tls;

/// What one read of a TLS connection takes.
const READ_BYTES: usize = 4096;
/// What one write of a TLS connection takes, so that what waits for the peer stays small.
const WRITE_BYTES: usize = 16 * 1024;

/// A connection, plain or in TLS.
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Tls>,
    /// Carried by the layer, not read yet.
    plain: Vec<u8>,
    /// How many of `plain` have been read.
    read: usize,
    /// From the layer, not sent yet.
    unsent: Vec<u8>,
    /// How many of `unsent` have been sent.
    sent: usize,
    /// Nothing more will come.
    ended: bool,
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub tcp: TcpStream,
    pub tls: Option<Tls>,
    /// Came in and was not read.
    pub plain: Vec<u8>,
    /// Was written and not sent.
    pub unsent: Vec<u8>,
}

impl Stream {
    /// A connection that has come in.
    pub fn new(tcp: TcpStream, entered: Entered) -> Stream {
        let Entered { tls, plain, .. } = entered;
        Stream { tcp, tls, plain, read: 0, unsent: Vec::new(), sent: 0, ended: false }
    }

    pub(crate) fn into_parts(mut self) -> Parts {
        self.plain.drain(..self.read);
        self.unsent.drain(..self.sent);
        Parts { tcp: self.tcp, tls: self.tls, plain: self.plain, unsent: self.unsent }
    }

    /// Sends what waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let count = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.unsent[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.unsent.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let waiting = &this.plain[this.read..];
            if !waiting.is_empty() {
                let count = waiting.len().min(buffer.remaining());
                buffer.put_slice(&waiting[..count]);
                this.read += count;
                return Poll::Ready(Ok(()));
            }
            let Some(tls) = &mut this.tls else { return Pin::new(&mut this.tcp).poll_read(cx, buffer) };
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            (this.plain, this.read) = (Vec::new(), 0);
            let mut block = [0; READ_BYTES];
            let mut block = ReadBuf::new(&mut block);
            ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut block))?;
            let flow = tls.receive(block.filled(), &mut this.plain, &mut this.unsent);
            this.ended = block.filled().is_empty() || flow == Ok(Flow::Ended);
            if let Err(close) = flow {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, close.why)));
            }
            // What the layer answers (rarely anything) leaves at once, or with the next write.
            if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_drain(cx))?;
        let Some(tls) = &mut this.tls else { return Pin::new(&mut this.tcp).poll_write(cx, bytes) };
        let part = &bytes[..bytes.len().min(WRITE_BYTES)];
        tls.send(part, &mut this.unsent);
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(tls) = &mut this.tls {
            // Says its goodbye once, however often this is polled.
            tls.close(&mut this.unsent);
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
