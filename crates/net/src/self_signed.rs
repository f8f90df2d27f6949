//! Certificates for a house without a CA: one P-256 and one RSA-2048 pair that vouch for themselves. Boards
//! pin them or take them as their CA file. Deliberately absent: files (the command writes them).

use std::net::IpAddr;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{Asn1Flag, EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier};
use openssl::x509::{X509, X509NameBuilder};

/// Ten years: boards are built into walls, and what they have pinned must stay true.
const DAYS: i64 = 3650;

/// A certificate and its key, in PEM.
pub struct Pair {
    /// Which kind: `p256` or `rsa`.
    pub kind: &'static str,
    /// The certificate.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// Makes both pairs for a server that is reached by `names` (host names and addresses; the first one is
/// its common name), valid from a day before `unix_s`, because clocks of boards are late.
pub fn self_signed(names: &[String], unix_s: i64) -> Result<Vec<Pair>, ErrorStack> {
    let mut curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    curve.set_asn1_flag(Asn1Flag::NAMED_CURVE);
    let p256 = PKey::from_ec_key(EcKey::generate(&curve)?)?;
    let rsa = PKey::from_rsa(Rsa::generate(2048)?)?;
    Ok(vec![pair("p256", &p256, names, unix_s)?, pair("rsa", &rsa, names, unix_s)?])
}

fn pair(kind: &'static str, key: &PKey<Private>, names: &[String], unix_s: i64) -> Result<Pair, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    // The two need different names, or a client that trusts both may check one by the other's key.
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, &format!("espush {kind}"))?;
    // RFC 5280 allows 64 characters here; the whole names stand in the extension below.
    let common: String = names.first().map_or("localhost", String::as_str).chars().take(64).collect();
    name.append_entry_by_nid(Nid::COMMONNAME, &common)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_pubkey(key)?;
    certificate.set_not_before(Asn1Time::from_unix(unix_s - 24 * 3600)?.as_ref())?;
    certificate.set_not_after(Asn1Time::from_unix(unix_s + DAYS * 24 * 3600)?.as_ref())?;
    certificate.append_extension(BasicConstraints::new().critical().build()?)?;
    let mut usage = KeyUsage::new();
    usage.critical().digital_signature();
    if kind == "rsa" {
        // Old boards let the server decrypt the key instead of signing.
        usage.key_encipherment();
    }
    certificate.append_extension(usage.build()?)?;
    certificate.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(_) => alternatives.ip(name),
            Err(_) => alternatives.dns(name),
        };
    }
    let alternatives = alternatives.build(&certificate.x509v3_context(None, None))?;
    certificate.append_extension(alternatives)?;
    let identifier = SubjectKeyIdentifier::new().build(&certificate.x509v3_context(None, None))?;
    certificate.append_extension(identifier)?;
    certificate.sign(key, MessageDigest::sha256())?;
    Ok(Pair { kind, certificate: certificate.build().to_pem()?, key: key.private_key_to_pem_pkcs8()? })
}
