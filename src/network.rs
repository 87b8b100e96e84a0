//! What bounds on clients go by: a host may have many addresses. Pure.

use std::net::{IpAddr, Ipv6Addr};

/// A client's IPv4 address, or the /64 of its IPv6 address, because a host has all of that to choose from (RFC 4291, 2.5.1).
pub fn client_key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_client_whatever_its_address() {
        for (address, expected) in
            [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
        {
            assert_eq!(client_key(address.parse().unwrap()).to_string(), expected);
        }
    }
}
