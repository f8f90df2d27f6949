//! The server's certificates: read from files, checked with a sentence for each mistake, and read again
//! while connections go on with what they began with. Deliberately absent: making them (`self_signed`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use contract::{Close, Fault};
use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey};
use openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::X509;
use parking_lot::RwLock;

use crate::tls::{self, Tls};

/// A TLS listener's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// What stands before the keys in the configuration, for errors: `mqtt.tls`.
    pub section: String,
    /// Certificate chain and key files, in PEM. A P-256 and an RSA pair may stand side by side: each
    /// client gets the one that it can check.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// The CA whose certificates speak for devices, by their common names. Clients may show one.
    pub client_ca: Option<PathBuf>,
    /// Whether a device may prove its secret instead of looking at a certificate (TLS-PSK, RFC 4279): the
    /// identity is the device id, the key its secret.
    pub psk: bool,
    /// Most payload bytes of one record.
    pub record_bytes_max: usize,
}

/// The key of an identity, if there is one. May block: it is called apart from the shards.
pub type PskLookup = Box<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// Why certificates cannot be used. The text names the fix.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// None were named and none are in their usual place.
    #[error("{section}.certificate names no certificate. Make one with `espush tls self-signed`, or name your own")]
    None {
        /// The section of the configuration.
        section: String,
    },
    /// A file cannot be read.
    #[error("cannot read {} for {key}: {error}. Check the name, or make a pair with `espush tls self-signed`", .file.display())]
    Read {
        /// The key of the configuration.
        key: String,
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {wanted}: {key} takes a PEM file (-----BEGIN …)", .file.display())]
    Form {
        /// The key of the configuration.
        key: String,
        /// The file.
        file: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// Certificate and key do not belong together.
    #[error("{} is not the key of {}: name pairs in the same order in {section}.certificate and {section}.key", .key.display(), .certificate.display())]
    Mismatch {
        /// The section of the configuration.
        section: String,
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Only one certificate of a kind can be shown.
    #[error("{section}.certificate names two certificates of one kind; one P-256 and one RSA may stand side by side")]
    Twice {
        /// The section of the configuration.
        section: String,
    },
    /// OpenSSL refused something that is not in the files.
    #[error("TLS cannot be set up: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// What a TLS listener shows its clients.
pub struct TlsServer {
    settings: TlsSettings,
    context: RwLock<SslContext>,
    keys: Arc<OnceLock<PskLookup>>,
}

impl TlsServer {
    /// Reads and checks the files.
    pub fn load(settings: TlsSettings) -> Result<Arc<TlsServer>, TlsError> {
        let keys = Arc::default();
        let context = RwLock::new(context(&settings, &keys)?);
        Ok(Arc::new(TlsServer { settings, context, keys }))
    }

    /// Tells where keys are found; until then nobody proves anything.
    pub fn set_keys(&self, keys: PskLookup) {
        let _ = self.keys.set(keys);
    }

    /// Whether a handshake may have to look a key up.
    pub(crate) fn uses_psk(&self) -> bool {
        self.settings.psk
    }

    /// What stands before its keys in the configuration.
    pub fn section(&self) -> &str {
        &self.settings.section
    }

    /// The certificates that it shows, as PEM.
    pub fn shown(&self) -> io::Result<Vec<u8>> {
        let files = self.settings.pairs.iter().map(|(certificate, _)| fs::read(certificate));
        Ok(files.collect::<io::Result<Vec<_>>>()?.concat())
    }

    /// Reads the files again. New connections see what is in them now; open ones go on as they are. On an
    /// error everything stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let context = context(&self.settings, &self.keys)?;
        *self.context.write() = context;
        Ok(())
    }

    /// The layer for a new connection.
    pub fn accept(&self) -> Result<Tls, Close> {
        let ours = |error: ErrorStack| Close { fault: Fault::Ours, why: format!("no TLS for a connection: {error}").into() };
        Tls::new(&self.context.read(), self.settings.record_bytes_max).map_err(ours)
    }
}

fn context(settings: &TlsSettings, keys: &Arc<OnceLock<PskLookup>>) -> Result<SslContext, TlsError> {
    let section = &settings.section;
    if settings.pairs.is_empty() {
        return Err(TlsError::None { section: section.clone() });
    }
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    // An idle connection keeps no buffer.
    context.set_mode(SslMode::RELEASE_BUFFERS);
    // Clients resume with tickets that they keep; the server remembers no session. One ticket is enough
    // for one board.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_num_tickets(1)?;
    context.set_session_id_context(b"espush")?;
    let mut kinds: Vec<Id> = Vec::new();
    for (certificate, key) in &settings.pairs {
        let kind = add_pair(&mut context, section, certificate, key)?;
        if kinds.contains(&kind) {
            return Err(TlsError::Twice { section: section.clone() });
        }
        kinds.push(kind);
    }
    if let Some(ca) = &settings.client_ca {
        take_client_certificates(&mut context, section, ca)?;
    }
    if settings.psk {
        take_keys(&mut context, keys.clone())?;
    }
    Ok(context.build())
}

/// Lets clients prove a key. Only in TLS 1.2, where the cipher tells whether that was done: in 1.3 a client
/// may name an identity and then go on without it. Without tickets, because a resumed session would not
/// tell whose it is.
fn take_keys(context: &mut SslContextBuilder, keys: Arc<OnceLock<PskLookup>>) -> Result<(), TlsError> {
    context.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_options(SslOptions::NO_TICKET | SslOptions::CIPHER_SERVER_PREFERENCE);
    // A client that can prove a key is to do so: it may not look at our certificate at all.
    context.set_cipher_list("kECDHEPSK+AESGCM:kPSK+AESGCM:kECDHEPSK:kDHEPSK:kPSK:ALL:!COMPLEMENTOFDEFAULT:!eNULL")?;
    context.set_psk_server_callback(move |ssl, identity, key| {
        let identity = identity.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let found = identity.and_then(|identity| keys.get()?(identity).map(|secret| (identity, secret)));
        // No key: OpenSSL ends the handshake with an alert, the same for an unknown identity and a wrong key.
        let Some((identity, secret)) = found.filter(|(_, secret)| secret.len() <= key.len()) else { return Ok(0) };
        key[..secret.len()].copy_from_slice(&secret);
        tls::note_identity(ssl, identity.to_owned());
        Ok(secret.len())
    });
    Ok(())
}

fn add_pair(context: &mut SslContextBuilder, section: &str, certificate: &Path, key: &Path) -> Result<Id, TlsError> {
    let setting = |name: &str| format!("{section}.{name}");
    let pem = read(setting("certificate"), certificate)?;
    let wanted = match X509::stack_from_pem(&pem) {
        Ok(chain) if !chain.is_empty() => None,
        Err(_) if X509::from_pem(&pem).is_ok() => Some("chain that can be read behind its first certificate"),
        _ => Some("certificate"),
    };
    if let Some(wanted) = wanted {
        return Err(TlsError::Form { key: setting("certificate"), file: certificate.to_owned(), wanted });
    }
    // Without the callback OpenSSL would ask for a passphrase on the terminal.
    let private = PKey::private_key_from_pem_callback(&read(setting("key"), key)?, |_| Ok(0)).map_err(|_| TlsError::Form {
        key: setting("key"),
        file: key.to_owned(),
        wanted: "private key without a passphrase",
    })?;
    context.set_certificate_chain_file(certificate)?;
    let mismatch =
        || TlsError::Mismatch { section: section.to_owned(), certificate: certificate.to_owned(), key: key.to_owned() };
    context.set_private_key(&private).map_err(|_| mismatch())?;
    context.check_private_key().map_err(|_| mismatch())?;
    Ok(private.id())
}

/// Asks clients for a certificate. One that has none comes in all the same and presents a password.
fn take_client_certificates(context: &mut SslContextBuilder, section: &str, ca: &Path) -> Result<(), TlsError> {
    let key = || format!("{section}.client_ca");
    let chain = X509::stack_from_pem(&read(key(), ca)?).unwrap_or_default();
    if chain.is_empty() {
        return Err(TlsError::Form { key: key(), file: ca.to_owned(), wanted: "certificate" });
    }
    let mut names = Stack::new()?;
    for certificate in chain {
        // Tells clients which of their certificates is meant.
        names.push(certificate.subject_name().to_owned()?)?;
        context.cert_store_mut().add_cert(certificate)?;
    }
    context.set_client_ca_list(names);
    context.set_verify(SslVerifyMode::PEER);
    Ok(())
}

fn read(key: String, file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| TlsError::Read { key, file: file.to_owned(), error })
}
