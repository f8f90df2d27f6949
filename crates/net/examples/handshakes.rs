//! TLS handshakes that one core does in a second, without sockets: the server's side alone is timed, by the
//! processor time of this thread. `cargo run --release -p net --example handshakes`
//!
//! Full ones and resumed ones (session tickets), TLS 1.2 and 1.3, with the certificate that a client prefers:
//! P-256 or RSA of 2,048 bits.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use net::{Layer, Tls, TlsServer, TlsSettings, self_signed};
use openssl::ssl::{Ssl, SslConnector, SslMethod, SslSession, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion};
use rustix::time::{ClockId, clock_gettime};

/// Handshakes of each kind.
const ROUNDS: u32 = 1000;

/// What the client takes for its socket.
#[derive(Default)]
struct Pipe {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.incoming.len());
        buffer[..count].copy_from_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Processor time of this thread, in microseconds.
fn spent_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// One handshake and one byte each way; what it took the server, in microseconds.
fn handshake(server: &TlsServer, ssl: Ssl, resumed: bool) -> f64 {
    let begun = spent_us();
    let mut tls: Tls = server.accept().expect("certificates were read");
    let mut took = spent_us() - begun;
    let mut client = SslStream::new(ssl, Pipe::default()).expect("memory");
    let (mut up, mut down) = (Vec::new(), Vec::new());
    while up.is_empty() {
        // "Not done yet" is no error; a real one shows when nothing more comes.
        if client.do_handshake().is_ok() {
            client.ssl_write(b"x").expect("the handshake is done");
        }
        let said = std::mem::take(&mut client.get_mut().outgoing);
        let begun = spent_us();
        tls.receive(&said, &mut up, &mut down).expect("a good client");
        took += spent_us() - begun;
        client.get_mut().incoming.append(&mut down);
    }
    let begun = spent_us();
    tls.send(b"y", &mut down);
    took += spent_us() - begun;
    client.get_mut().incoming.append(&mut down);
    // Tickets of TLS 1.3 come in front of it.
    client.ssl_read(&mut [0]).expect("what the server said");
    assert_eq!(client.ssl().session_reused(), resumed);
    // Who does not say goodbye loses the session.
    client.shutdown().expect("a goodbye");
    took
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: String| dir.path().join(name);
    let mut pairs = Vec::new();
    for pair in self_signed(&["localhost".to_owned()], 1_795_000_000).expect("a key") {
        let (crt, key) = (file(format!("{}.crt", pair.kind)), file(format!("{}.key", pair.kind)));
        std::fs::write(&crt, pair.certificate).expect("a file");
        std::fs::write(&key, pair.key).expect("a file");
        pairs.push((crt, key));
    }
    let settings = TlsSettings { section: "mqtt.tls".to_owned(), pairs, client_ca: None, psk: false, record_bytes_max: 1024 };
    let server = TlsServer::load(settings).expect("good certificates");
    println!("| handshake | us of the server | a second on one core |\n|---|---|---|");
    for (version, name) in [(SslVersion::TLS1_2, "TLS 1.2"), (SslVersion::TLS1_3, "TLS 1.3")] {
        for (key, ciphers, algorithms) in [
            ("P-256", "ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa_secp256r1_sha256"),
            ("RSA 2048", "ECDHE-RSA-AES128-GCM-SHA256", "rsa_pss_rsae_sha256"),
        ] {
            let last: Arc<Mutex<Option<SslSession>>> = Arc::default();
            let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL");
            connector.set_verify(SslVerifyMode::NONE);
            connector.set_min_proto_version(Some(version)).expect("a version");
            connector.set_max_proto_version(Some(version)).expect("a version");
            connector.set_cipher_list(ciphers).expect("a cipher");
            connector.set_sigalgs_list(algorithms).expect("an algorithm");
            connector.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
            let keep = last.clone();
            connector.set_new_session_callback(move |_, session| *keep.lock().expect("nobody panics") = Some(session));
            let connector = connector.build();
            for resumed in [false, true] {
                let mut took: Vec<f64> = (0..ROUNDS)
                    .map(|_| {
                        let mut ssl = connector.configure().expect("OpenSSL").into_ssl("localhost").expect("a name");
                        ssl.set_connect_state();
                        if resumed {
                            let session = last.lock().expect("nobody panics").clone().expect("the full ones gave tickets");
                            #[expect(unsafe_code, reason = "the session was made with this connector's own context")]
                            // SAFETY: see the reason.
                            unsafe {
                                ssl.set_session(&session).expect("a session");
                            }
                        }
                        handshake(&server, ssl, resumed)
                    })
                    .collect();
                took.sort_by(f64::total_cmp);
                let median = took[took.len() / 2];
                let kind = if resumed { "resumed" } else { "full" };
                println!("| {name}, {key}, {kind} | {median:.0} | {:.0} |", 1e6 / median);
            }
        }
    }
}
