//! A network that a grant may be used from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network in CIDR notation (RFC 4632, RFC 4291 §2.3), written in one way only: no bit is set behind the prefix, and IPv6 is
/// spelled as RFC 5952 says. IPv4 inside IPv6 (`::ffff:…`) is written, and compared, as IPv4.
///
/// ```
/// use strongroom_core::grant::Network;
/// let lab: Network = "192.0.2.0/24".parse().unwrap();
/// assert!(lab.covers("192.0.2.7".parse().unwrap()) && !lab.covers("192.0.3.7".parse().unwrap()));
/// assert!(lab.covers("::ffff:192.0.2.7".parse().unwrap()));
/// assert!("192.0.2.7/24".parse::<Network>().is_err(), "bits behind the prefix");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    start: IpAddr,
    bits: u8,
}

/// A text that is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is written as 192.0.2.0/24, 192.0.2.7/32 or 2001:db8::/32, with no bit set behind the prefix")]
pub struct NotANetwork;

impl Network {
    /// Whether an address lies in it.
    pub fn covers(&self, address: IpAddr) -> bool {
        match (self.start, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                head(own.to_bits().into(), 32, self.bits) == head(other.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                head(own.to_bits(), 128, self.bits) == head(other.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }

    /// Whether all of `inner` lies in it.
    pub fn covers_network(&self, inner: &Self) -> bool {
        self.bits <= inner.bits && self.covers(inner.start)
    }
}

/// The first `bits` of an address of `width` bits.
fn head(address: u128, width: u8, bits: u8) -> u128 {
    address.checked_shr(u32::from(width - bits)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = text.split_once('/').ok_or(NotANetwork)?;
        let start: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let bits: u8 = bits.parse().map_err(|_| NotANetwork)?;
        let (width, value) = match start {
            IpAddr::V4(start) => (32, start.to_bits().into()),
            IpAddr::V6(start) => (128, start.to_bits()),
        };
        if bits > width || start != start.to_canonical() {
            return Err(NotANetwork);
        }
        let behind = value ^ head(value, width, bits).checked_shl(u32::from(width - bits)).unwrap_or(0);
        let network = Self { start, bits };
        if behind == 0 && network.to_string() == text { Ok(network) } else { Err(NotANetwork) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_is_one_way_to_write_a_network() {
        for good in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32", "::/0", "2001:db8::/32", "2001:db8::1/128"] {
            assert_eq!(good.parse::<Network>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0/8",
            "10.0.0.1/8",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
            "0.0.0.1/0",
            "::1/0",
            "2001:DB8::/32",
            "2001:db8:0::/32",
            "2001:db8::/129",
            "::/ 0",
            "::ffff:10.0.0.0/104",
            "::ffff:10.0.0.0/8",
            "010.0.0.0/8",
            "fe80::1%1/128",
            "example.org/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
    }

    #[test]
    fn families_do_not_cover_each_other() {
        let (v4, v6): (Network, Network) = ("0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap());
        let (of4, of6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert!(v4.covers(of4) && v6.covers(of6) && !v4.covers(of6) && !v6.covers(of4));
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
        assert!(v4.covers(mapped) && !v6.covers(mapped), "IPv4 spoken over an IPv6 socket is IPv4");
        assert!(!v4.covers_network(&v6) && !v6.covers_network(&v4));
    }

    /// A network of the last five bits of one address family, and whether it is IPv6.
    fn network() -> impl Strategy<Value = (Network, bool, u8, u8)> {
        (any::<bool>(), 0..32_u8, 0..6_u8).prop_map(|(six, value, short)| {
            let value = value >> (5 - short) << (5 - short);
            let text = if six {
                format!("{}/{}", Ipv6Addr::from_bits(value.into()), 123 + short)
            } else {
                format!("10.0.0.{value}/{}", 27 + short)
            };
            (text.parse().unwrap(), six, value, short)
        })
    }

    proptest! {
        /// One network covers another exactly if it covers each of its addresses; and addresses by their bits, one by one.
        #[test]
        fn covering_is_inclusion((outer, six, value, short) in network(), (inner, ..) in network()) {
            let address = |six, low: u8| if six { IpAddr::V6(Ipv6Addr::from_bits(low.into())) } else { IpAddr::V4(Ipv4Addr::new(10, 0, 0, low)) };
            let universe: Vec<IpAddr> = [false, true].into_iter().flat_map(|six| (0..32).map(move |low| address(six, low))).collect();
            for low in 0..32 {
                let same = (0..short).all(|bit| value >> (4 - bit) & 1 == low >> (4 - bit) & 1);
                prop_assert_eq!(outer.covers(address(six, low)), same, "{} {}", outer, low);
            }
            let included = universe.iter().all(|address| !inner.covers(*address) || outer.covers(*address));
            prop_assert_eq!(outer.covers_network(&inner), included, "{} {}", outer, inner);
        }
    }
}
