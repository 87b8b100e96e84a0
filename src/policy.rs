//! The target policy: which addresses sessions may go to, and what WebShells may ask for. Pure.
//!
//! It judges addresses, never names: a name is judged by what it resolves to, at every dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{api::HostKeyPolicy, config::Policy, ssh};

/// IPv4 networks where no target is, with what they are. The first that fits is named.
const RESERVED_V4: [(Ipv4Net, &str); 8] = [
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 169, 254), 32), METADATA),
    // Alibaba Cloud's, Oracle Cloud's and Azure's, which are not link-local.
    (Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32), METADATA),
    (Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 192), 32), METADATA),
    (Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32), METADATA),
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), LINK_LOCAL),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), LOOPBACK),
    // Linux connects to itself by 0.0.0.0.
    (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8), UNSPECIFIED),
    // Multicast, and what is reserved or for broadcasts.
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3), MULTICAST),
];

/// IPv6 networks where no target is, with what they are.
const RESERVED_V6: [(Ipv6Net, &str); 6] = [
    // Amazon's and Google's.
    (Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128), METADATA),
    (Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128), METADATA),
    (Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), LINK_LOCAL),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), LOOPBACK),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), UNSPECIFIED),
    (Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8), MULTICAST),
];

const METADATA: &str = "a cloud's metadata service";
const LINK_LOCAL: &str = "a link-local address";
const LOOPBACK: &str = "a loopback address";
const UNSPECIFIED: &str = "no address of a host";
const MULTICAST: &str = "a multicast or reserved address";

/// Networks where targets never are, whatever the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved(Vec<(IpNet, &'static str)>);

/// What is allowed at the moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetPolicy {
    /// Where targets never are.
    pub reserved: Reserved,
    /// What the installation's settings say.
    pub policy: Policy,
}

// === impl Reserved ===

impl Reserved {
    /// What must never be reached from within a cluster: the gateway itself, what is around its node, and the API server at
    /// these addresses.
    pub fn in_cluster(api_server: impl IntoIterator<Item = IpAddr>) -> Self {
        let v4 = RESERVED_V4.into_iter().map(|(net, what)| (net.into(), what));
        let v6 = RESERVED_V6.into_iter().map(|(net, what)| (net.into(), what));
        let api_server = api_server.into_iter().map(|ip| (ip.to_canonical().into(), "the API server"));
        Self(api_server.chain(v4).chain(v6).collect())
    }

    /// The same without the networks that hold an address: for those who have their targets there.
    pub fn except(mut self, address: IpAddr) -> Self {
        self.0.retain(|(net, _)| !net.contains(&address));
        self
    }

    fn of(&self, ip: IpAddr) -> Option<&'static str> {
        self.0.iter().find(|(net, _)| net.contains(&ip)).map(|(_, what)| *what)
    }
}

// === impl TargetPolicy ===

impl TargetPolicy {
    /// Whether a session may go to an address.
    ///
    /// # Errors
    /// What speaks against it, in a few words.
    pub fn admit(&self, address: SocketAddr) -> Result<(), String> {
        let Policy { allowed_cidrs, denied_cidrs, allowed_ports, .. } = &self.policy;
        let (ip, port) = (address.ip().to_canonical(), address.port());
        for ip in [Some(ip), embedded(ip)].into_iter().flatten() {
            if let Some(what) = self.reserved.of(ip) {
                return Err(format!("{what} is no target"));
            }
            if let Some(denied) = denied_cidrs.iter().find(|net| net.contains(&ip)) {
                return Err(format!("deniedCidrs of the policy holds {denied}"));
            }
        }
        if !allowed_cidrs.is_empty() && !allowed_cidrs.iter().any(|net| net.contains(&ip)) {
            return Err("allowedCidrs of the policy does not hold it".to_owned());
        }
        if !allowed_ports.is_empty() && !allowed_ports.contains(&port) {
            let ports = allowed_ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            return Err(format!("allowedPorts of the policy holds {ports} only"));
        }
        Ok(())
    }

    /// Whether a WebShell may have a host key policy.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn admit_host_keys(&self, policy: HostKeyPolicy) -> Result<(), String> {
        let forbidden = match policy {
            HostKeyPolicy::Strict => false,
            HostKeyPolicy::TrustOnFirstUse => self.policy.forbid_trust_on_first_use,
            HostKeyPolicy::Insecure => self.policy.forbid_insecure,
        };
        if forbidden {
            return Err(format!(
                "spec.hostKey.policy is \"{policy:?}\": this installation forbids it; use Strict with the machine's host key, as \
                 ssh-keyscan prints it"
            ));
        }
        Ok(())
    }

    /// The shortest RSA key that may vouch for a host, in bits.
    pub fn min_rsa_bits(&self) -> u32 {
        if self.policy.forbid_short_rsa_keys { ssh::GOOD_RSA_BITS } else { ssh::MIN_RSA_BITS }
    }
}

/// The IPv4 address that a translator or tunnel would make of an IPv6 address: IPv4-compatible (RFC 4291), NAT64 (RFC 6052,
/// RFC 8215) and 6to4 (RFC 3056). Mapped ones are canonical IPv4 already.
fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    match ip.segments() {
        // `::` and `::1` are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0 | 1, .., high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standard() -> TargetPolicy {
        let reserved = Reserved::in_cluster(["10.96.0.1", "fd00:96::1"].map(|ip| ip.parse().unwrap()));
        TargetPolicy { reserved, policy: Policy::default() }
    }

    fn policy(yaml: &str) -> TargetPolicy {
        TargetPolicy { policy: crate::config::parse("policy", yaml).unwrap(), ..standard() }
    }

    fn verdict(policy: &TargetPolicy, ip: &str) -> Result<(), String> {
        policy.admit(SocketAddr::new(ip.parse().unwrap(), 22))
    }

    #[test]
    fn what_is_no_target_is_refused_in_every_form() {
        for (what, addresses) in [
            (LOOPBACK, "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::1"),
            (UNSPECIFIED, "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0 64:ff9b::"),
            (LINK_LOCAL, "169.254.0.1 fe80::1 febf::1 ::ffff:169.254.1.1 64:ff9b:1::169.254.1.1"),
            (METADATA, "169.254.169.254 fd00:ec2::254 fd20:ce::254 100.100.100.200 192.0.0.192 168.63.129.16"),
            (METADATA, "::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::"),
            (MULTICAST, "224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 ff02::1 ::ffff:224.0.0.1"),
            ("the API server", "10.96.0.1 ::ffff:10.96.0.1 fd00:96::1 64:ff9b::10.96.0.1"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(verdict(&standard(), address), Err(format!("{what} is no target")), "{address}");
            }
        }
        for address in
            "10.96.0.2 10.0.4.12 192.168.1.1 172.16.0.1 8.8.8.8 fd00::1 2001:db8::1 ::ffff:10.0.0.1".split(' ')
        {
            assert_eq!(verdict(&standard(), address), Ok(()), "{address}");
        }
    }

    #[test]
    fn settings_allow_and_deny_networks_and_ports() {
        let policy =
            policy("{allowedCidrs: [10.0.0.0/8, 'fd00::/8'], deniedCidrs: [10.1.0.0/16], allowedPorts: [22, 2222]}");
        assert_eq!(verdict(&policy, "10.0.4.12"), Ok(()));
        assert_eq!(verdict(&policy, "::ffff:10.0.4.12"), Ok(()));
        assert_eq!(verdict(&policy, "192.0.2.1"), Err("allowedCidrs of the policy does not hold it".to_owned()));
        let denied = Err("deniedCidrs of the policy holds 10.1.0.0/16".to_owned());
        assert_eq!(verdict(&policy, "10.1.2.3"), denied);
        assert_eq!(verdict(&policy, "::ffff:10.1.2.3"), denied);
        // Settings open nothing that is never a target.
        assert!(verdict(&policy, "fd00:ec2::254").is_err());
        assert_eq!(
            policy.admit("10.0.4.12:23".parse().unwrap()),
            Err("allowedPorts of the policy holds 22, 2222 only".to_owned())
        );
    }

    #[test]
    fn settings_forbid_host_key_policies() {
        use HostKeyPolicy::{Insecure, Strict, TrustOnFirstUse};
        let all = [Strict, TrustOnFirstUse, Insecure];
        let allowed = |policy: &TargetPolicy| all.map(|keys| policy.admit_host_keys(keys).is_ok());
        assert_eq!(allowed(&standard()), [true, true, true]);
        assert_eq!(allowed(&policy("forbidInsecure: true")), [true, true, false]);
        assert_eq!(allowed(&policy("forbidTrustOnFirstUse: true")), [true, false, true]);
        let error = policy("forbidInsecure: true").admit_host_keys(Insecure).unwrap_err();
        assert!(error.starts_with("spec.hostKey.policy is \"Insecure\": "), "{error}");
    }

    proptest! {
        #[test]
        fn every_form_of_an_ipv4_address_is_judged_as_itself(bits: u32) {
            let ip = Ipv4Addr::from(bits);
            let [a, b, c, d] = ip.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let plain = standard().admit((ip, 22).into());
            for form in [
                ip.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(&standard().admit((form, 22).into()), &plain, "{}", form);
            }
        }
    }
}
