//! Which addresses a provider must not have: link-local ones, among them the clouds' metadata services.

use std::net::IpAddr;

/// Whether this is a link-local address.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r52_metadata_addresses_are_link_local() {
        for text in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            assert!(is_link_local(text.parse().unwrap()), "{text}");
        }
        assert!(!is_link_local("127.0.0.1".parse().unwrap()));
    }
}
