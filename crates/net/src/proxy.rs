//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): the line or
//! block by which a load balancer tells who the real peer is. Pure. Deliberately absent: the further
//! fields of version 2 (TLVs); they are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 1 may take at most, the line's end included (2.1).
const LINE_BYTES_MAX: usize = 107;
/// What begins version 2 (2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2: signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// What version 2 may take at most after its fixed part. Balancers send addresses and a few fields,
/// together some 100 bytes; a certificate's name adds some more.
const BLOCK_BYTES_MAX: usize = 2048;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The real peer; `None` when the balancer speaks for itself (a health check) or does not know.
    pub source: Option<SocketAddr>,
    /// Bytes that the header takes; what follows is the protocol's.
    pub bytes: usize,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Something else came first.
    #[error(
        "sent no PROXY header; send one (HAProxy: send-proxy-v2), or set proxy_protocol = false for devices that connect directly"
    )]
    Missing,
    /// It breaks its own rules.
    #[error("sent a PROXY header that makes no sense")]
    Malformed,
}

/// Reads the header at the beginning of `input`. `None`: it is not whole yet.
pub fn parse(input: &[u8]) -> Result<Option<Header>, ProxyError> {
    let common = |begin: &[u8]| input.iter().zip(begin).all(|(a, b)| a == b);
    if common(&SIGNATURE) {
        return if input.len() < FIXED_BYTES { Ok(None) } else { version_2(input) };
    }
    if !common(b"PROXY ") {
        return Err(ProxyError::Missing);
    }
    let line = &input[..input.len().min(LINE_BYTES_MAX)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => version_1(&line[..end]).map(|source| Some(Header { source, bytes: end + 2 })),
        None if line.len() == LINE_BYTES_MAX => Err(ProxyError::Malformed),
        None => Ok(None),
    }
}

/// `PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883`
fn version_1(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(ProxyError::Malformed);
    let family = word()?;
    // What follows UNKNOWN is not to be looked at (2.1).
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, target, port, target_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyError::Malformed);
    }
    let ip = |text: &str| text.parse::<IpAddr>().ok().filter(|ip| if family == "TCP4" { ip.is_ipv4() } else { ip.is_ipv6() });
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    match (family, ip(source), ip(target), number(port), number(target_port)) {
        ("TCP4" | "TCP6", Some(ip), Some(_), Some(port), Some(_)) => Ok(Some(SocketAddr::new(ip, port))),
        _ => Err(ProxyError::Malformed),
    }
}

fn version_2(input: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some((fixed, rest)) = input.split_first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let (version, command, family) = (fixed[12] >> 4, fixed[12] & 15, fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version != 2 || command > 1 || length > BLOCK_BYTES_MAX {
        return Err(ProxyError::Malformed);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let bytes = FIXED_BYTES + length;
    // LOCAL: the balancer itself (2.2); whatever stands there does not count.
    if command == 0 {
        return Ok(Some(Header { source: None, bytes }));
    }
    let source = match family {
        0x11 => {
            let [ip @ .., _, _, _, _, high, low, _, _] = *block.first_chunk::<12>().ok_or(ProxyError::Malformed)?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), u16::from_be_bytes([high, low])))
        }
        0x21 => {
            let block = block.first_chunk::<36>().ok_or(ProxyError::Malformed)?;
            let mut ip = [0; 16];
            ip.copy_from_slice(&block[..16]);
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([block[32], block[33]])))
        }
        // Unspecified, datagrams, local sockets: no address of a device.
        _ => None,
    };
    Ok(Some(Header { source, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, block].concat()
    }

    fn source(input: &[u8]) -> Option<String> {
        let header = parse(input).unwrap().expect("the header is whole");
        assert_eq!(header.bytes, input.len());
        header.source.map(|addr| addr.to_string())
    }

    #[test]
    fn version_1_tells_the_peer() {
        assert_eq!(source(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n").unwrap(), "192.0.2.7:56324");
        assert_eq!(source(b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 1883\r\n").unwrap(), "[2001:db8::7]:56324");
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN ffff:f::1 whatever\r\n"), None);
    }

    #[test]
    fn version_2_tells_the_peer() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 7, 0x5b];
        assert_eq!(source(&version_2(1, 0x11, &four)).unwrap(), "192.0.2.7:56324");
        let with_fields = [&four[..], &[4, 0, 3, 1, 2, 3]].concat();
        assert_eq!(source(&version_2(1, 0x11, &with_fields)).unwrap(), "192.0.2.7:56324");
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        six[15] = 7;
        six[32..34].copy_from_slice(&[0xdc, 4]);
        assert_eq!(source(&version_2(1, 0x21, &six)).unwrap(), "[2001:db8::7]:56324");
        assert_eq!(source(&version_2(0, 0, &[])), None, "a health check");
        assert_eq!(source(&version_2(1, 0x31, &[0; 216])), None, "a local socket");
    }

    #[test]
    fn what_is_no_header_is_told_apart_from_a_bad_one() {
        assert_eq!(parse(b"\x10\x0c\0\x04MQTT"), Err(ProxyError::Missing));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Missing));
        for line in [
            "TCP4 1.2.3.4",
            "TCP4 ::1 ::1 1 2",
            "TCP4 1.2.3.4 1.2.3.4 +1 2",
            "TCP4 1.2.3.4 1.2.3.4 1 65536",
            "UDP4 1.2.3.4 1.2.3.4 1 2",
            "TCP4 1.2.3.4 1.2.3.4 1 2 3",
        ] {
            assert_eq!(parse(format!("PROXY {line}\r\n").as_bytes()), Err(ProxyError::Malformed), "{line}");
        }
        assert_eq!(parse(format!("PROXY TCP4 {}", "1".repeat(200)).as_bytes()), Err(ProxyError::Malformed), "a line without end");
        assert_eq!(parse(&version_2(1, 0x11, &[0; 11])), Err(ProxyError::Malformed), "too short for its addresses");
        assert_eq!(parse(&version_2(2, 0x11, &[0; 12])), Err(ProxyError::Malformed), "an unknown command");
        assert_eq!(parse(&version_2(1, 0x11, &[0; BLOCK_BYTES_MAX + 1])), Err(ProxyError::Malformed), "too long");
    }

    #[test]
    fn a_header_in_pieces_is_the_same_and_what_follows_does_not_matter() {
        arbtest::arbtest(|u| {
            let ip =
                if u.arbitrary()? { IpAddr::from(u.arbitrary::<[u8; 4]>()?) } else { IpAddr::from(u.arbitrary::<[u8; 16]>()?) };
            let from = SocketAddr::new(ip, u.arbitrary()?);
            let whole = if u.arbitrary()? {
                let family = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {ip} {ip} {} 1883\r\n", from.port()).into_bytes()
            } else {
                let mut block = match ip {
                    IpAddr::V4(ip) => ip.octets().repeat(2),
                    IpAddr::V6(ip) => ip.octets().repeat(2),
                };
                block.extend(from.port().to_be_bytes());
                block.extend([7, 0x5b]);
                block.extend(u.arbitrary::<[u8; 5]>()?);
                version_2(1, if ip.is_ipv4() { 0x11 } else { 0x21 }, &block)
            };
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]), Ok(None), "{end} of {}", whole.len());
            }
            let followed = [&whole[..], u.arbitrary::<&[u8]>()?].concat();
            assert_eq!(parse(&followed), Ok(Some(Header { source: Some(from), bytes: whole.len() })));
            Ok(())
        });
    }

    #[test]
    fn any_bytes_are_answered() {
        arbtest::arbtest(|u| {
            let begin: &[u8] = u.choose(&[&b""[..], b"PROXY ", b"PROXY TCP4 ", &SIGNATURE])?;
            let input = [begin, u.arbitrary::<&[u8]>()?].concat();
            if let Ok(Some(header)) = parse(&input) {
                assert!(header.bytes <= input.len());
            }
            Ok(())
        });
    }
}
