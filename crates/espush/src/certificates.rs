//! Which certificates a TLS listener shows: those that its settings name, else those that
//! `espush tls self-signed` has put into the data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use net::{TlsServer, TlsSettings};

use crate::config::TlsListen;

/// The pairs of `espush tls self-signed`, by the names of their files.
pub const KINDS: [&str; 2] = ["p256", "rsa"];

const DIRECTORY: &str = "tls";

/// Where `espush tls self-signed` keeps its pairs.
pub fn directory(data: &Path) -> PathBuf {
    data.join(DIRECTORY)
}

/// The files of `espush tls self-signed` that are there, by their path in the data directory.
pub fn made(data: &Path) -> Vec<PathBuf> {
    let pairs = KINDS.iter().flat_map(|kind| [format!("{kind}.crt"), format!("{kind}.key")]);
    let names = pairs.chain(["trust.pem".to_owned()]).map(|name| PathBuf::from(DIRECTORY).join(name));
    names.filter(|path| data.join(path).exists()).collect()
}

/// Reads what `listen` shows; `section` is its place in the configuration.
pub fn load(section: &str, listen: &TlsListen, data: &Path) -> anyhow::Result<Arc<TlsServer>> {
    let (named, keys) = (listen.certificate.len(), listen.key.len());
    ensure!(named == keys, "{section}.certificate names {named} files and {section}.key {keys}: each certificate needs its key");
    let mut pairs: Vec<(PathBuf, PathBuf)> = listen.certificate.iter().cloned().zip(listen.key.iter().cloned()).collect();
    if pairs.is_empty() {
        let dir = directory(data);
        let made = KINDS.iter().map(|kind| (dir.join(format!("{kind}.crt")), dir.join(format!("{kind}.key"))));
        pairs.extend(made.filter(|(certificate, _)| certificate.exists()));
    }
    Ok(TlsServer::load(TlsSettings {
        section: section.to_owned(),
        pairs,
        client_ca: listen.client_ca.clone(),
        psk: listen.psk,
        record_bytes_max: listen.record_bytes_max,
    })?)
}
