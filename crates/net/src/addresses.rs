//! How many connections each address holds, over all listeners and shards. A connection takes a place when
//! it comes in and keeps it as long as its socket lives, wherever that goes. Deliberately absent: what
//! becomes of a connection that gets no place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The places of all addresses. Holds no more entries than there are connections.
pub(crate) struct Addresses {
    /// The most that one address may hold; 0 is no limit, and nothing is counted.
    most: u32,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

/// The place of one connection, free again when this is dropped.
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    holder: IpAddr,
}

/// The address holds as many connections as it may.
#[derive(Debug, thiserror::Error)]
#[error("its address holds {most} connections already; if it may have more, raise limits.connections_per_address")]
pub(crate) struct Full {
    most: u32,
}

impl Addresses {
    /// At most so many connections for each address; 0 is no limit.
    pub(crate) fn new(most: u32) -> Arc<Addresses> {
        Arc::new(Addresses { most, taken: Mutex::default() })
    }

    /// A place for one more connection from `addr`; none is needed when there is no limit.
    pub(crate) fn enter(self: &Arc<Self>, addr: IpAddr) -> Result<Option<Place>, Full> {
        if self.most == 0 {
            return Ok(None);
        }
        let holder = holder(addr);
        {
            let mut taken = self.taken.lock();
            let count = taken.entry(holder).or_default();
            if *count >= self.most {
                return Err(Full { most: self.most });
            }
            *count += 1;
        }
        Ok(Some(Place { addresses: self.clone(), holder }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.addresses.taken.lock();
        if let Some(count) = taken.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

/// What counts as one address. A subscriber of IPv6 is given a whole /64 and his machines choose any address
/// in it, so that single ones would limit nobody. An IPv4 peer of a listener on `[::]` counts as IPv4: all of
/// them share one /64.
fn holder(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(addresses: &Arc<Addresses>, addr: &str) -> Option<Place> {
        addresses.enter(addr.parse().unwrap()).ok().flatten()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let addresses = Addresses::new(2);
        let first = enter(&addresses, "192.0.2.1");
        let second = enter(&addresses, "192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(enter(&addresses, "192.0.2.1").is_none());
        assert!(enter(&addresses, "192.0.2.2").is_some(), "another address has its own places");
        drop(first);
        let third = enter(&addresses, "192.0.2.1");
        assert!(third.is_some());
        assert!(enter(&addresses, "192.0.2.1").is_none());
        drop((second, third));
        assert!(addresses.taken.lock().is_empty(), "nothing is kept of addresses that have gone");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let addresses = Addresses::new(0);
        let place = addresses.enter("192.0.2.1".parse().unwrap());
        assert!(matches!(place, Ok(None)) && addresses.taken.lock().is_empty());
    }

    #[test]
    fn the_addresses_of_one_ipv6_subscriber_count_as_one() {
        let addresses = Addresses::new(1);
        let _one = enter(&addresses, "2001:db8:0:1::7").unwrap();
        assert!(enter(&addresses, "2001:db8:0:1:ffff::8").is_none());
        assert!(enter(&addresses, "2001:db8:0:2::7").is_some());
    }

    #[test]
    fn ipv4_peers_count_each_for_itself_however_they_came() {
        let addresses = Addresses::new(1);
        let _one = enter(&addresses, "::ffff:192.0.2.1").unwrap();
        assert!(enter(&addresses, "192.0.2.1").is_none());
        assert!(enter(&addresses, "::ffff:192.0.2.2").is_some());
    }
}
