//! TLS as a layer: OpenSSL between two byte buffers, so that a connection's TLS state is a value that
//! moves between shards, and holds no buffer while the line is quiet.
//! OpenSSL and not rustls, because ESP8266 firmware asks for small records (maximum fragment length,
//! RFC 6066) and only OpenSSL answers that. Deliberately absent: sockets, deadlines, who may come in,
//! and where certificates come from (`certificates`).

use std::io::{self, Read, Write};
use std::sync::OnceLock;

use contract::{Close, Fault};
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::nid::Nid;
use openssl::ssl::{Error, ErrorCode, Ssl, SslContextRef, SslRef, SslStream};
use openssl::x509::X509VerifyResult;

use crate::layer::{Flow, Layer};

/// Most payload bytes of a record (RFC 8446, 5.1): a broker takes them all, unlike a board.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// A record's first byte while a handshake begins (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// Our side of one TLS connection: the server's, or the caller's on a line that the house dials.
pub struct Tls {
    stream: SslStream<Pipe>,
    stage: Stage,
    record_bytes_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing came yet.
    Fresh,
    Handshake,
    Open,
    /// Broken or closed: OpenSSL must not be asked again.
    Over,
}

/// What OpenSSL takes for its socket.
#[derive(Default)]
struct Pipe {
    incoming: Vec<u8>,
    taken: usize,
    outgoing: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = &self.incoming[self.taken..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.read(buffer)?;
        self.taken += count;
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

/// The place of a named identity in OpenSSL's connection.
fn identity_index() -> Index<Ssl, String> {
    static INDEX: OnceLock<Index<Ssl, String>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().expect("OpenSSL has room for a place"))
}

/// Remembers which identity a client has named.
pub(crate) fn note_identity(ssl: &mut SslRef, identity: String) {
    ssl.set_ex_data(identity_index(), identity);
}

impl Tls {
    /// Awaits a client. At most `record_bytes_max` payload bytes are put into one record.
    pub(crate) fn new(context: &SslContextRef, record_bytes_max: usize) -> Result<Tls, ErrorStack> {
        let mut ssl = Ssl::new(context)?;
        ssl.set_accept_state();
        let stream = SslStream::new(ssl, Pipe::default())?;
        Ok(Tls { stream, stage: Stage::Fresh, record_bytes_max: record_bytes_max.max(1) })
    }

    /// Calls a server: what is said first goes into `down`.
    pub(crate) fn call(mut ssl: Ssl, down: &mut Vec<u8>) -> Result<Tls, ErrorStack> {
        ssl.set_connect_state();
        let stream = SslStream::new(ssl, Pipe::default())?;
        let mut tls = Tls { stream, stage: Stage::Handshake, record_bytes_max: RECORD_BYTES_MAX };
        // "Not done yet" is no error: the server is to answer first.
        let _ = tls.stream.do_handshake();
        tls.collect(down);
        Ok(tls)
    }

    /// Whether the handshake is done.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Who the client is: by the key that it has proved, or by the common name of the certificate that it
    /// has shown and that was checked.
    pub(crate) fn certified(&self) -> Option<String> {
        let ssl = self.stream.ssl();
        if let Some(identity) = ssl.ex_data(identity_index()) {
            // Named is not proved: the cipher tells whether the key was used.
            let proved = ssl.current_cipher().is_some_and(|cipher| cipher.name().contains("PSK"));
            return (self.is_open() && proved).then(|| identity.clone());
        }
        let certificate = ssl.peer_certificate().filter(|_| self.is_open() && ssl.verify_result() == X509VerifyResult::OK)?;
        let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        // Which of two would be meant?
        let name = names.next().filter(|_| names.next().is_none())?;
        name.data().to_string().ok().map(|text| text.to_string())
    }

    fn advance(&mut self, length: usize, up: &mut Vec<u8>) -> Result<Flow, Close> {
        if self.stage == Stage::Handshake {
            match self.stream.do_handshake() {
                Ok(()) => self.stage = Stage::Open,
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(Flow::Open),
                Err(error) => return Err(self.distrust().unwrap_or_else(|| fault("the TLS handshake failed", &error))),
            }
        }
        loop {
            let start = up.len();
            // What a record carries is shorter than the record.
            up.resize(start + length, 0);
            let result = self.stream.ssl_read(&mut up[start..]);
            up.truncate(start + result.as_ref().map_or(0, |count| *count));
            match result {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(Flow::Open),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Ok(Flow::Ended),
                Err(error) => return Err(fault("the TLS line broke", &error)),
            }
        }
    }

    /// Why we do not trust the certificate that the server showed us, if that is so.
    fn distrust(&self) -> Option<Close> {
        let verdict = self.stream.ssl().verify_result();
        let why = verdict.error_string();
        let what =
            format!("its certificate is not trusted ({why}); name the certificate of its CA, and a host that stands in it");
        (verdict != X509VerifyResult::OK).then(|| Close { fault: Fault::Peer, why: what.into() })
    }

    /// Takes what OpenSSL wrote, and gives memory back.
    fn collect(&mut self, down: &mut Vec<u8>) {
        let pipe = self.stream.get_mut();
        down.append(&mut pipe.outgoing);
        pipe.outgoing = Vec::new();
        if pipe.taken == pipe.incoming.len() {
            pipe.incoming = Vec::new();
            pipe.taken = 0;
        }
    }
}

impl Layer for Tls {
    fn receive(&mut self, input: &[u8], up: &mut Vec<u8>, down: &mut Vec<u8>) -> Result<Flow, Close> {
        let Some(first) = input.first() else { return Ok(Flow::Open) };
        match self.stage {
            Stage::Over => return Ok(Flow::Ended),
            Stage::Fresh if *first != HANDSHAKE => {
                self.stage = Stage::Over;
                let why = "sent plain bytes to a TLS port; let it speak TLS (mqtts, https), or use the plain port";
                return Err(Close { fault: Fault::Peer, why: why.into() });
            }
            Stage::Fresh => self.stage = Stage::Handshake,
            Stage::Handshake | Stage::Open => {}
        }
        self.stream.get_mut().incoming.extend_from_slice(input);
        let flow = self.advance(input.len().max(512), up);
        if flow != Ok(Flow::Open) {
            // After a goodbye we may still send; after an error OpenSSL may not be asked for anything.
            self.stage = if flow.is_err() { Stage::Over } else { self.stage };
        }
        self.collect(down);
        flow
    }

    fn send(&mut self, plain: &[u8], down: &mut Vec<u8>) {
        if self.stage != Stage::Open {
            return;
        }
        for record in plain.chunks(self.record_bytes_max) {
            // The pipe takes everything, so a write is whole or the line is broken.
            if self.stream.ssl_write(record).is_err() {
                self.stage = Stage::Over;
                break;
            }
        }
        self.collect(down);
    }

    fn close(&mut self, down: &mut Vec<u8>) {
        if self.stage == Stage::Open {
            // Sends our close_notify; the peer's need not be waited for.
            let _ = self.stream.shutdown();
        }
        self.stage = Stage::Over;
        self.collect(down);
    }
}

/// What OpenSSL said as a sentence for the owner, with the fix where it is known.
fn fault(what: &str, error: &Error) -> Close {
    let reason = error.ssl_error().and_then(|stack| stack.errors().first()).and_then(|e| e.reason()).unwrap_or("no reason given");
    let advice = match reason {
        r if r.contains("unknown ca") || r.contains("certificate unknown") || r.contains("bad certificate") => {
            "; it does not trust our certificate: give it the certificate (of its CA), and use a host name that stands in it"
        }
        "no shared cipher" => "; a client that can only RSA needs an RSA certificate beside the P-256 one",
        r if r.contains("unsupported protocol") || r.contains("protocol version") => "; TLS 1.2 or 1.3 is needed",
        _ => "",
    };
    Close { fault: Fault::Peer, why: format!("{what}: {reason}{advice}").into() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};

    use super::*;
    use crate::certificates::{TlsError, TlsServer, TlsSettings};
    use crate::self_signed::self_signed;

    /// A server with both certificates, in a directory of its own.
    fn server(record_bytes_max: usize) -> (tempfile::TempDir, Arc<TlsServer>) {
        let dir = tempfile::tempdir().unwrap();
        let mut pairs = Vec::new();
        for pair in self_signed(&["push.test".to_owned(), "127.0.0.1".to_owned()], 1_795_000_000).unwrap() {
            let [certificate, key] = ["crt", "key"].map(|kind| dir.path().join(format!("{}.{kind}", pair.kind)));
            std::fs::write(&certificate, pair.certificate).unwrap();
            std::fs::write(&key, pair.key).unwrap();
            pairs.push((certificate, key));
        }
        let settings = TlsSettings { section: "mqtt.tls".to_owned(), pairs, client_ca: None, psk: false, record_bytes_max };
        (dir, TlsServer::load(settings).unwrap())
    }

    /// A client on a pipe, and the server's layer for it.
    struct Line {
        client: SslStream<Pipe>,
        tls: Tls,
        /// What the server's machine got.
        up: Vec<u8>,
        /// The lengths of the records that the server sent.
        records: Vec<usize>,
        piece: usize,
    }

    impl Line {
        fn new(server: &TlsServer, set: impl FnOnce(&mut openssl::ssl::SslConnectorBuilder)) -> Line {
            let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
            connector.set_verify(SslVerifyMode::NONE);
            set(&mut connector);
            let ssl = connector.build().configure().unwrap().into_ssl("push.test").unwrap();
            let client = SslStream::new(ssl, Pipe::default()).unwrap();
            Line { client, tls: server.accept().unwrap(), up: Vec::new(), records: Vec::new(), piece: usize::MAX }
        }

        /// Carries what either side has for the other, once each way.
        fn carry(&mut self) -> Result<Flow, Close> {
            let (mut down, mut flow) = (Vec::new(), Ok(Flow::Open));
            let input = std::mem::take(&mut self.client.get_mut().outgoing);
            for piece in input.chunks(self.piece) {
                flow = flow.and_then(|_| self.tls.receive(piece, &mut self.up, &mut down));
            }
            self.client_gets(&down);
            flow
        }

        fn client_gets(&mut self, down: &[u8]) {
            let mut rest = down;
            while let [_, _, _, high, low, after @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                self.records.push(length);
                rest = &after[length..];
            }
            self.client.get_mut().incoming.extend_from_slice(down);
        }

        fn connect(mut self) -> Line {
            for _ in 0..6 {
                let _ = self.client.connect();
                self.carry().unwrap();
            }
            assert!(self.tls.is_open());
            self
        }

        fn server_says(&mut self, plain: &[u8]) -> Vec<u8> {
            let mut down = Vec::new();
            self.records.clear();
            self.tls.send(plain, &mut down);
            self.client_gets(&down);
            let (mut got, mut block) = (Vec::new(), [0; 4096]);
            while let Ok(count) = self.client.ssl_read(&mut block) {
                got.extend_from_slice(&block[..count]);
            }
            got
        }
    }

    fn only(version: SslVersion) -> impl Fn(&mut openssl::ssl::SslConnectorBuilder) {
        move |connector| {
            connector.set_min_proto_version(Some(version)).unwrap();
            connector.set_max_proto_version(Some(version)).unwrap();
        }
    }

    #[test]
    fn both_versions_carry_bytes_both_ways_in_small_records() {
        let (_dir, server) = server(512);
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let mut line = Line::new(&server, only(version)).connect();
            line.client.ssl_write(b"hello").unwrap();
            assert_eq!(line.carry(), Ok(Flow::Open));
            assert_eq!(line.up, b"hello");
            let long = vec![7; 3000];
            assert_eq!(line.server_says(&long), long);
            assert_eq!(line.records.len(), 6, "512 payload bytes each");
            // Nonce, tag, content type, padding: at most 40 bytes around the payload.
            assert!(line.records.iter().all(|length| *length <= 512 + 40), "{:?}", line.records);
        }
    }

    #[test]
    fn a_handshake_byte_by_byte_is_the_same() {
        let (_dir, server) = server(512);
        let mut line = Line { piece: 1, ..Line::new(&server, |_| {}) }.connect();
        line.client.ssl_write(b"hello").unwrap();
        assert_eq!(line.carry(), Ok(Flow::Open));
        assert_eq!(line.up, b"hello");
    }

    #[test]
    fn each_client_gets_the_certificate_that_it_can_check() {
        let (_dir, server) = server(512);
        for (ciphers, bits) in
            [("ECDHE-ECDSA-AES128-GCM-SHA256", 256), ("ECDHE-RSA-AES128-GCM-SHA256", 2048), ("AES128-SHA", 2048)]
        {
            let line = Line::new(&server, |connector| {
                only(SslVersion::TLS1_2)(connector);
                connector.set_cipher_list(ciphers).unwrap();
            });
            let line = line.connect();
            let shown = line.client.ssl().peer_certificate().unwrap();
            assert_eq!(shown.public_key().unwrap().bits(), bits, "{ciphers}");
        }
    }

    #[test]
    fn a_goodbye_ends_it_and_ours_reaches_the_client() {
        let (_dir, server) = server(512);
        let mut line = Line::new(&server, |_| {}).connect();
        let _ = line.client.shutdown();
        assert_eq!(line.carry(), Ok(Flow::Ended));
        let mut down = Vec::new();
        line.tls.close(&mut down);
        line.client_gets(&down);
        assert_eq!(line.client.ssl_read(&mut [0]).unwrap_err().code(), ErrorCode::ZERO_RETURN);
        let after = down.len();
        line.tls.send(b"late", &mut down);
        assert_eq!(down.len(), after, "nothing follows a goodbye");
    }

    #[test]
    fn who_does_not_speak_tls_is_told_apart() {
        let (_dir, server) = server(512);
        for plain in [&b"\x10\x0c\0\x04MQTT"[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            let error = server.accept().unwrap().receive(plain, &mut up, &mut down).unwrap_err();
            assert!(error.why.contains("plain bytes to a TLS port"), "{}", error.why);
            assert!(up.is_empty());
        }
        let mut line = Line::new(&server, |_| {});
        let _ = line.client.connect();
        line.client.get_mut().outgoing[9..].fill(0xff);
        assert_eq!(line.carry().unwrap_err().fault, Fault::Peer);
        assert_eq!(line.carry(), Ok(Flow::Open), "nothing came, nothing happens");
        assert_eq!(line.tls.receive(b"more", &mut Vec::new(), &mut Vec::new()), Ok(Flow::Ended), "a broken layer stays broken");
    }

    #[test]
    fn a_client_that_does_not_trust_us_is_told_what_to_do() {
        let (_dir, server) = server(512);
        let mut line = Line::new(&server, |connector| connector.set_verify(SslVerifyMode::PEER));
        let mut error = None;
        for _ in 0..6 {
            let _ = line.client.connect();
            error = error.or(line.carry().err());
        }
        let error = error.unwrap();
        assert!(error.why.contains("does not trust our certificate"), "{}", error.why);
    }

    #[test]
    fn an_idle_line_holds_no_buffer() {
        let (_dir, server) = server(512);
        let mut line = Line::new(&server, |_| {}).connect();
        line.client.ssl_write(&[0; 2000]).unwrap();
        line.carry().unwrap();
        line.server_says(&[0; 2000]);
        let pipe = line.tls.stream.get_ref();
        assert_eq!((pipe.incoming.capacity(), pipe.outgoing.capacity()), (0, 0));
    }

    #[test]
    fn any_bytes_are_answered() {
        let (_dir, server) = server(512);
        arbtest::arbtest(|u| {
            let mut tls = server.accept().unwrap();
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let begin: &[u8] = u.choose(&[&b""[..], b"\x16\x03\x01\0\x40\x01\0\0\x3c\x03\x03"])?;
                let input = [begin, u.arbitrary::<&[u8]>()?].concat();
                let _ = tls.receive(&input, &mut up, &mut down);
            }
            tls.send(b"x", &mut down);
            tls.close(&mut down);
            assert!(up.is_empty());
            Ok(())
        });
    }

    #[test]
    fn new_certificates_are_for_new_lines() {
        let (dir, server) = server(512);
        let mut old = Line::new(&server, |_| {}).connect();
        let shown = |line: &Line| line.client.ssl().peer_certificate().unwrap().to_der().unwrap();
        for pair in self_signed(&["push.test".to_owned()], 1_795_000_001).unwrap() {
            std::fs::write(dir.path().join(format!("{}.crt", pair.kind)), pair.certificate).unwrap();
            std::fs::write(dir.path().join(format!("{}.key", pair.kind)), pair.key).unwrap();
        }
        server.reload().unwrap();
        let new = Line::new(&server, |_| {}).connect();
        assert_ne!(shown(&old), shown(&new));
        assert_eq!(old.server_says(b"still here"), b"still here");
        std::fs::write(dir.path().join("p256.crt"), "no certificate").unwrap();
        assert!(matches!(server.reload(), Err(TlsError::Form { .. })));
        let newest = Line::new(&server, |_| {}).connect();
        assert_eq!(shown(&new), shown(&newest), "what cannot be read changes nothing");
    }

    #[test]
    fn each_mistake_with_the_files_has_its_sentence() {
        let (dir, _server) = server(512);
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("empty"), "").unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        std::fs::write(file("broken"), std::fs::read_to_string(file("rsa.crt")).unwrap() + broken).unwrap();
        let load = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(PathBuf, PathBuf)> = pairs.iter().map(|(c, k)| (file(c), file(k))).collect();
            let settings =
                TlsSettings { section: "mqtt.tls".to_owned(), pairs, client_ca: None, psk: false, record_bytes_max: 512 };
            TlsServer::load(settings).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(load(&[("p256.crt", "p256.key"), ("rsa.crt", "rsa.key")]), "");
        for (pairs, says) in [
            (&[][..], "espush tls self-signed"),
            (&[("absent", "rsa.key")], "cannot read"),
            (&[("rsa.crt", "absent")], "for mqtt.tls.key"),
            (&[("empty", "rsa.key")], "holds no certificate"),
            (&[("rsa.key", "rsa.key")], "holds no certificate"),
            (&[("broken", "rsa.key")], "behind its first certificate"),
            (&[("rsa.crt", "empty")], "holds no private key"),
            (&[("rsa.crt", "p256.key")], "is not the key of"),
            (&[("rsa.crt", "rsa.key"), ("rsa.crt", "rsa.key")], "two certificates of one kind"),
        ] {
            let sentence = load(pairs);
            assert!(sentence.contains(says), "{pairs:?}: {sentence}");
        }
    }
}
