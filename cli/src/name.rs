//! Names on the command line: `tenant`, `tenant/vendor`, `tenant/dataset`, `tenant/dataset/path`.
//!
//! They are parsed at the edge, by the rules of the core; what breaks one is refused with the rule in words.

use std::str::FromStr;

use strongroom_client::{PrefixName, VendorRef};
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::TenantName;

/// For clap: a name by the SDK's rules, its refusal without code and advice (the line around it has them).
pub fn parse<T: FromStr<Err = strongroom_client::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: strongroom_client::Error| error.detail().to_owned())
}

/// Where `ls` looks: the datasets of a tenant, or a place in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantOrPlace {
    /// `acme`.
    Tenant(TenantName),
    /// `acme/rlhf/math/`.
    Place(PrefixName),
}

impl FromStr for TenantOrPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('/').unwrap_or(text) {
            name if !name.contains('/') => name.parse().map(Self::Tenant).map_err(|error| format!("{error}")),
            _ => parse(text).map(Self::Place),
        }
    }
}

/// To whom a grant goes: `acme/labelco`, or a key's fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// A vendor: any of its live keys.
    Vendor(VendorRef),
    /// One key.
    Key(Fingerprint),
}

impl FromStr for Grantee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("SHA256:") {
            text.parse().map(Self::Key).map_err(|error| format!("{error}"))
        } else {
            parse(text).map(Self::Vendor)
        }
    }
}

/// The first characters of a fingerprint: enough to tell a tenant's keys apart on a line.
pub fn short_key(key: &Fingerprint) -> String {
    let text = key.to_string();
    format!("{}…", text.get(..15).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ls_takes_a_tenant_too() {
        assert_eq!("acme".parse(), Ok(TenantOrPlace::Tenant("acme".parse().unwrap())));
        assert_eq!("acme/".parse(), Ok(TenantOrPlace::Tenant("acme".parse().unwrap())));
        assert!(matches!("acme/rlhf".parse(), Ok(TenantOrPlace::Place(_))));
    }

    #[test]
    fn a_grantee_is_a_vendor_or_a_key() {
        let key = Fingerprint::from_bytes([7; 32]);
        assert_eq!(key.to_string().parse(), Ok(Grantee::Key(key)));
        assert!(matches!("acme/labelco".parse(), Ok(Grantee::Vendor(_))));
        assert!("labelco".parse::<Grantee>().is_err() && "SHA256:abc".parse::<Grantee>().is_err());
    }
}
