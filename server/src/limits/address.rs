//! Address: from where somebody connects, also behind proxies. Whoever has one IPv6 address has a network of them, so
//! 64 bits count.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Once,
};

use http::HeaderMap;
use ipnet::IpNet;

/// What proxies tell: the addresses that a request came through, the first one's first.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// An IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl Address {
    /// Where a request comes from. A proxy is believed whom it has it from, and nobody else.
    pub(crate) fn of(peer: Option<SocketAddr>, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let mut found = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| {
            peer.ip().to_canonical()
        });
        if proxies.is_empty() && headers.contains_key(FORWARDED_FOR) {
            warn_of_proxy();
        }
        let is_proxy = |ip: IpAddr| proxies.iter().any(|network| network.contains(&ip));
        let told = headers.get_all(FORWARDED_FOR).iter().rev();
        // The last one was added by the proxy that asks us, the one before by the one that asked that.
        let mut told = told.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
        while is_proxy(found)
            && let Some(before) = told.next().and_then(read)
        {
            found = before;
        }
        found.into()
    }
}

/// Says once what an operator must know who has put this server behind a proxy.
fn warn_of_proxy() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "a request says that it came through a proxy (X-Forwarded-For), and no proxy is believed: if there is one before this server, set TRUSTED_PROXIES to its address, or its clients are one address to all limits"
        );
    });
}

/// An address as proxies write it, some of them with a port.
fn read(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let ip = bare.parse().ok().or_else(with_port)?;
    Some(ip.to_canonical())
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self(match ip {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            IpAddr::V4(_) => ip,
        })
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        *address
    }
}

/// Reads a proxy's address or network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let one = |_| text.parse().map(|ip: IpAddr| ip.into());
    text.parse().or_else(one).map_err(|_| {
        "addresses or networks are expected, such as 10.0.0.0/8,fd00::/8,192.0.2.1".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of a request from `peer` with these lines, behind proxies of `10.0.0.0/8` and `::1`.
    fn address(peer: &str, lines: &[&'static str]) -> Address {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8", "::1"].map(|text| network(text).unwrap());
        Address::of(Some(SocketAddr::new(ip(peer), 80)), &headers, &proxies)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn proxies_are_believed_and_nobody_else() {
        let told = [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.1.1.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.1.1.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("::1", &["[2001:db8::1]:4711"], "2001:db8::"),
            (
                "10.1.1.1",
                &["203.0.113.9, 198.51.100.7, 10.2.2.2"],
                "198.51.100.7",
            ),
            (
                "10.1.1.1",
                &["203.0.113.9", "198.51.100.7", "10.2.2.2"],
                "198.51.100.7",
            ),
            (
                "10.1.1.1",
                &["203.0.113.9, who knows, 10.2.2.2"],
                "10.2.2.2",
            ),
            ("10.1.1.1", &["10.3.3.3,10.2.2.2"], "10.3.3.3"),
            ("10.1.1.1", &[], "10.1.1.1"),
        ];
        for (peer, lines, from) in told {
            assert_eq!(address(peer, lines), Address(ip(from)), "{peer} {lines:?}");
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_ipv4_is_ipv4_however_it_is_written() {
        assert_eq!(
            address("2001:db8:0:1::1", &[]),
            address("2001:db8:0:1:ffff::", &[])
        );
        assert_ne!(
            address("2001:db8:0:1::1", &[]),
            address("2001:db8:0:2::1", &[])
        );
        assert_eq!(address("::ffff:192.0.2.1", &[]), address("192.0.2.1", &[]));
        assert_ne!(address("192.0.2.1", &[]), address("192.0.2.2", &[]));
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        for right in ["10.0.0.0/8", "fd00::/8", "192.0.2.1", "::1"] {
            assert!(network(right).is_ok(), "{right}");
        }
        for wrong in ["", "10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
