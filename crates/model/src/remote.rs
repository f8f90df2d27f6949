//! A peer's address in half the memory of `SocketAddr`. There are several of each idle connection.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Where a peer comes from. What goes in comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote(Held);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    V4(SocketAddrV4),
    /// An IPv4 peer at a socket that takes both: `::ffff:a.b.c.d`.
    Mapped(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

const _: () = assert!(size_of::<Remote>() == 16 && size_of::<Option<Remote>>() == 16, "it is there to be small");

impl From<SocketAddr> for Remote {
    fn from(addr: SocketAddr) -> Remote {
        Remote(match addr {
            SocketAddr::V4(v4) => Held::V4(v4),
            SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
                Some(ip) if v6.flowinfo() == 0 && v6.scope_id() == 0 => Held::Mapped(SocketAddrV4::new(ip, v6.port())),
                _ => Held::V6(Box::new(v6)),
            },
        })
    }
}

impl Remote {
    /// The address.
    pub fn addr(&self) -> SocketAddr {
        match &self.0 {
            Held::V4(v4) => SocketAddr::V4(*v4),
            Held::Mapped(v4) => SocketAddr::from((Ipv4Addr::to_ipv6_mapped(v4.ip()), v4.port())),
            Held::V6(v6) => SocketAddr::V6(**v6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let scoped = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 1883, 1, 2));
        let odd = SocketAddr::V6(SocketAddrV6::new("::ffff:10.0.0.1".parse().unwrap(), 1883, 0, 3));
        let plain = ["10.1.2.3:4000", "[2001:db8::1]:1883", "[::ffff:10.0.0.1]:9", "[::]:0", "0.0.0.0:0"];
        for addr in plain.iter().map(|text| text.parse().unwrap()).chain([scoped, odd]) {
            assert_eq!(Remote::from(addr).addr(), addr);
        }
    }
}
