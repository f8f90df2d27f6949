//! TLS for a caller that can wait, such as the command line: a stream over a stream. Deliberately absent:
//! sockets and HTTP, and what a line of the house trusts (`trust`).

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509VerifyResult};

use crate::trust::{TrustError, connector};

/// Whom a caller believes to be the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Who shows a certificate of a CA that the system trusts, for the host that was called.
    System,
    /// Who shows a certificate of a CA in this file, for the host that was called.
    Ca(PathBuf),
    /// Who shows one of the certificates in this file, whatever names stand in it.
    Exactly(PathBuf),
}

/// A caller who speaks TLS.
pub struct TlsCaller {
    connector: SslConnector,
    /// The only certificates that are believed, if they are known.
    known: Option<Vec<Vec<u8>>>,
}

impl TlsCaller {
    /// Reads what is to be trusted.
    pub fn new(trust: &Trust) -> Result<TlsCaller, TrustError> {
        let known = match trust {
            Trust::System => return Ok(TlsCaller { connector: connector(None)?.build(), known: None }),
            Trust::Ca(file) => return Ok(TlsCaller { connector: connector(Some(file))?.build(), known: None }),
            Trust::Exactly(file) => certificates(file)?,
        };
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        // Compared whole after the handshake, which proves that the server has the key.
        connector.set_verify(SslVerifyMode::NONE);
        Ok(TlsCaller { connector: connector.build(), known: Some(known) })
    }

    /// Shakes hands with `host` over `stream`. Waits for the peer as long as the stream does.
    pub fn shake_hands<S: Read + Write>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>> {
        let mut configured = self.connector.configure()?;
        configured.set_verify_hostname(self.known.is_none());
        let ssl = configured.into_ssl(host)?;
        let mut stream = SslStream::new(ssl, stream)?;
        stream.connect().map_err(|error| match stream.ssl().verify_result() {
            X509VerifyResult::OK => error.into_io_error().unwrap_or_else(io::Error::other),
            why => stranger(why.error_string()),
        })?;
        if let Some(known) = &self.known {
            let shown = stream.ssl().peer_certificate().and_then(|certificate| certificate.to_der().ok());
            if !shown.is_some_and(|shown| known.contains(&shown)) {
                return Err(stranger("it is not the one in the server's data directory"));
            }
        }
        Ok(TlsStream(stream))
    }
}

/// Why the peer is not believed to be the server; inside the `io::Error` of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its certificate is not trusted: {0}")]
pub struct Untrusted(&'static str);

fn stranger(why: &'static str) -> io::Error {
    io::Error::other(Untrusted(why))
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, TrustError> {
    let failed = |why: String| TrustError::File { file: file.to_owned(), why };
    let pem = fs::read(file).map_err(|error| failed(error.to_string()))?;
    let all = X509::stack_from_pem(&pem).map_err(|_| failed("it holds none".to_owned()))?;
    Ok(all.iter().map(|certificate| certificate.to_der()).collect::<Result<_, _>>()?)
}

/// An open TLS stream.
pub struct TlsStream<S>(SslStream<S>);

impl<S> TlsStream<S> {
    /// The stream below.
    pub fn below(&mut self) -> &mut S {
        self.0.get_mut()
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
