//! Which proxy serves which host.

use std::net::IpAddr;

/// Names the proxies. The caller takes them from its configuration or from the environment
/// (`http_proxy`, `https_proxy`, `no_proxy`).
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    /// Proxy for `http` URLs: `http://[user:password@]host:port`. Requests go to it in absolute form,
    /// as package caches expect, and not through CONNECT.
    pub http: Option<String>,
    /// Proxy for `https` URLs, used through CONNECT.
    pub https: Option<String>,
    /// Hosts reached directly: names and their subdomains, addresses, `address/bits`, each with an
    /// optional `:port`, separated by commas or spaces; `*` for all.
    pub no_proxy: Option<String>,
}

impl Proxy {
    /// Says whether a host (brackets of an IPv6 address allowed) is to be reached directly.
    pub(crate) fn is_bypassed(&self, host: &str, port: u16) -> bool {
        let host = bare(host).to_ascii_lowercase();
        self.no_proxy.iter().flat_map(|list| list.split([',', ' '])).any(|entry| {
            let (entry, wanted_port) = split_port(entry.trim());
            wanted_port.is_none_or(|wanted| wanted == port)
                && covers(&entry.to_ascii_lowercase(), &host)
        })
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Splits a port off, but not off a bare IPv6 address or network.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (entry, None),
    };
    if port.is_some() { (bare(host), port) } else { (bare(entry), None) }
}

fn covers(entry: &str, host: &str) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits), Ok(host)) = (network.parse(), bits.parse(), host.parse())
    {
        return in_network(network, bits, host);
    }
    let name = entry.trim_start_matches("*.").trim_start_matches('.');
    let is_address = host.parse::<IpAddr>().is_ok();
    !name.is_empty()
        && host
            .strip_suffix(name)
            .is_some_and(|before| before.is_empty() || (before.ends_with('.') && !is_address))
}

fn in_network(network: IpAddr, bits: u32, host: IpAddr) -> bool {
    match (network, host) {
        (IpAddr::V4(network), IpAddr::V4(host)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == host.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(host)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == host.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bypassed(list: &str, host: &str) -> bool {
        Proxy { no_proxy: Some(list.into()), ..Proxy::default() }.is_bypassed(host, 80)
    }

    #[test]
    fn no_proxy_lists() {
        for (list, host, expected) in [
            ("", "host", false),
            ("*", "host", true),
            ("host", "HOST", true),
            ("example.org", "a.example.org", true),
            (".example.org", "a.example.org", true),
            ("*.example.org", "a.example.org", true),
            ("example.org", "badexample.org", false),
            ("one, two three", "three", true),
            ("host:80", "host", true),
            ("host:81", "host", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("0.0.1", "127.0.0.1", false),
            ("10.0.0.0/8", "10.2.3.4", true),
            ("10.0.0.0/8", "11.2.3.4", false),
            ("0.0.0.0/0", "11.2.3.4", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("::1", "[::1]", true),
            ("[::1]:80", "[::1]", true),
            ("fd00::/8", "[fd00::7]", true),
        ] {
            assert_eq!(bypassed(list, host), expected, "{list:?} {host}");
        }
    }

    proptest! {
        #[test]
        fn no_list_panics(list in "\\PC{0,30}", host in "\\PC{0,20}") {
            bypassed(&list, &host);
        }
    }
}
