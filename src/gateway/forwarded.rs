//! The client's address behind proxies. `X-Forwarded-For` counts only as far as trusted proxies wrote it. Pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The address that counts as the client's: the right-most of `X-Forwarded-For` (its fields in the order of the
/// headers) that is not a trusted proxy's, if the connection itself came from one.
pub fn client<'a, I>(peer: IpAddr, forwarded_for: I, trusted: &[IpNet]) -> IpAddr
where
    I: DoubleEndedIterator<Item = &'a str>,
{
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    let mut hops = forwarded_for.flat_map(|field| field.split(',')).rev();
    while is_trusted(&client) {
        // What a trusted proxy would not have written ends the trail.
        let Some(hop) = hops.next().and_then(parse_hop) else { break };
        client = hop;
    }
    client
}

/// An address, with or without a port or brackets, as proxies write them.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client_of(peer: &str, forwarded_for: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|t| t.parse().unwrap()).collect();
        client(peer.parse().unwrap(), forwarded_for.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = &["10.0.0.0/8", "fd00::/8"];
        for (peer, headers, expected) in [
            ("10.0.0.1", &[] as &[&str], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("192.0.2.9", &["192.0.2.7"], "192.0.2.9"),
            ("10.0.0.1", &["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["1.1.1.1", "192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["1.1.1.1, forged, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.7:5123"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db8::1]:5123"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("fd00::1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["", "10.0.0.3"], "10.0.0.3"),
        ] {
            assert_eq!(client_of(peer, headers, proxies), expected, "{peer} {headers:?}");
        }
        assert_eq!(client_of("10.0.0.1", &["192.0.2.7"], &[]), "10.0.0.1");
    }

    proptest! {
        #[test]
        fn nothing_said_by_a_stranger_counts(peer in any::<std::net::Ipv4Addr>(), said in ".*") {
            prop_assume!(peer.octets()[0] != 10);
            prop_assert_eq!(client_of(&peer.to_string(), &[&said], &["10.0.0.0/8"]), peer.to_string());
        }
    }
}
