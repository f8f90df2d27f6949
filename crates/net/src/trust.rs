//! What a dialled line trusts when it speaks TLS: the certificates of one CA, or those that the system
//! trusts, and always only for the host that was dialled. Deliberately absent: a way not to look.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVersion};

use crate::tls::Tls;

/// Where systems keep what they trust: Debian and Alpine, Red Hat, the BSDs. OpenSSL is built along, and so
/// does not know.
const SYSTEM_FILES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why nothing could be trusted. The text names the fix.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file holds no certificates.
    #[error("cannot read certificates from {}: {why}. Name a PEM file with the certificate of the remote's CA", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What OpenSSL said.
        why: String,
    },
    /// No file was named, and the system has none.
    #[error(
        "this system has no list of trusted certificates; name the certificate of the remote's CA, or install ca-certificates"
    )]
    None,
    /// OpenSSL refused something else.
    #[error("TLS cannot be set up: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// What checks certificates against those of the CA in the file `ca`, or against what the system trusts.
pub(crate) fn connector(ca: Option<&Path>) -> Result<SslConnectorBuilder, TrustError> {
    let system = || SYSTEM_FILES.iter().map(Path::new).find(|file| file.exists());
    let file = ca.or_else(system).ok_or(TrustError::None)?;
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    connector.set_ca_file(file).map_err(|error| TrustError::File {
        file: file.to_owned(),
        why: error.errors().first().and_then(|e| e.reason()).unwrap_or("it holds none").to_owned(),
    })?;
    Ok(connector)
}

/// The caller's side of TLS towards one host.
#[derive(Clone)]
pub struct TlsClient {
    connector: SslConnector,
    host: Arc<str>,
}

impl TlsClient {
    /// For lines to `addr` (`host:port`), whose certificate is signed by the CA in the file `ca`, or by one
    /// that the system trusts.
    pub fn new(addr: &str, ca: Option<&Path>) -> Result<TlsClient, TrustError> {
        let connector = connector(ca)?;
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
        Ok(TlsClient { connector: connector.build(), host: host.trim_matches(['[', ']']).into() })
    }

    /// The same trust, for another host: reading what the system trusts takes its time.
    pub fn towards(&self, host: &str) -> TlsClient {
        TlsClient { connector: self.connector.clone(), host: host.into() }
    }

    /// Calls the host: what is to be said first goes into `down`.
    pub(crate) fn call(&self, down: &mut Vec<u8>) -> Result<Tls, ErrorStack> {
        Tls::call(self.connector.configure()?.into_ssl(&self.host)?, down)
    }
}
