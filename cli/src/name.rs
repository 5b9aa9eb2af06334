//! Names on the command line: `tenant`, `tenant/vendor`, `tenant/dataset`, `tenant/dataset/path`.
//!
//! They are parsed by the rules of the core, at the edge; what breaks one is refused with the rule in words.

use std::fmt;
use std::str::FromStr;

use strongroom_core::grant::{Holder, Prefix};
use strongroom_core::identity::Fingerprint;
use strongroom_core::names::{DatasetName, NameError, ObjectPath, TenantName, VendorName};

/// A text that is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Parts are missing, or too many.
    #[error("expected {0}")]
    Shape(&'static str),
    /// A part breaks a rule.
    #[error("{part}: {error}")]
    Part {
        /// Which part.
        part: &'static str,
        /// The rule.
        error: NameError,
    },
}

fn part<T: FromStr<Err = NameError>>(part: &'static str, text: &str) -> Result<T, NameProblem> {
    text.parse().map_err(|error| NameProblem::Part { part, error })
}

/// `tenant/vendor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorRef {
    /// The tenant that registered it.
    pub tenant: TenantName,
    /// Its name there.
    pub vendor: VendorName,
}

impl FromStr for VendorRef {
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        let (tenant, vendor) = text.split_once('/').ok_or(NameProblem::Shape("TENANT/VENDOR"))?;
        Ok(Self { tenant: part("tenant", tenant)?, vendor: part("vendor", vendor)? })
    }
}

impl fmt::Display for VendorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.vendor)
    }
}

/// `tenant/dataset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRef {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name there.
    pub dataset: DatasetName,
}

impl FromStr for DatasetRef {
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        let (tenant, dataset) = text.split_once('/').ok_or(NameProblem::Shape("TENANT/DATASET"))?;
        let dataset = dataset.strip_suffix('/').unwrap_or(dataset);
        Ok(Self { tenant: part("tenant", tenant)?, dataset: part("dataset", dataset)? })
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.dataset)
    }
}

/// `tenant/dataset/path`: exactly one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Whose it is.
    pub tenant: TenantName,
    /// In which dataset.
    pub dataset: DatasetName,
    /// Where in it.
    pub path: ObjectPath,
}

impl FromStr for ObjectRef {
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant), Some(dataset), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NameProblem::Shape("TENANT/DATASET/PATH"));
        };
        Ok(Self { tenant: part("tenant", tenant)?, dataset: part("dataset", dataset)?, path: part("path", path)? })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.dataset, self.path)
    }
}

/// `tenant/dataset/prefix`: a folder (`acme/rlhf/math/`; the dataset itself is `acme/rlhf/` or `acme/rlhf`), all that starts so
/// (`acme/rlhf/math/0000*`), or one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub tenant: TenantName,
    /// In which dataset.
    pub dataset: DatasetName,
    /// Where in it.
    pub prefix: Prefix,
}

impl FromStr for Place {
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant), Some(dataset)) = (parts.next(), parts.next()) else {
            return Err(NameProblem::Shape("TENANT/DATASET/PREFIX"));
        };
        let prefix = part("path", parts.next().unwrap_or_default())?;
        Ok(Self { tenant: part("tenant", tenant)?, dataset: part("dataset", dataset)?, prefix })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.dataset, self.prefix)
    }
}

/// Where `ls` looks: the datasets of a tenant, or a place in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantOrPlace {
    /// `acme`.
    Tenant(TenantName),
    /// `acme/rlhf/math/`.
    Place(Place),
}

impl FromStr for TenantOrPlace {
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        match text.strip_suffix('/').unwrap_or(text) {
            name if !name.contains('/') => part("tenant", name).map(Self::Tenant),
            _ => text.parse().map(Self::Place),
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
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        if text.starts_with("SHA256:") {
            let shape = NameProblem::Shape("SHA256: and 43 characters of base64");
            text.parse().map(Self::Key).map_err(|_| shape)
        } else {
            text.parse().map(Self::Vendor).map_err(|error| match error {
                NameProblem::Shape(_) => NameProblem::Shape("TENANT/VENDOR or SHA256:…"),
                error => error,
            })
        }
    }
}

/// The first characters of a fingerprint: enough to tell a tenant's keys apart on a line.
pub fn short_key(key: &Fingerprint) -> String {
    let text = key.to_string();
    format!("{}…", text.get(..15).unwrap_or(&text))
}

/// A holder whose name is not known.
pub fn holder_text(holder: &Holder) -> String {
    match holder {
        Holder::Vendor(id) => id.to_string(),
        Holder::Key(key) => key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_parts() {
        assert_eq!("acme/labelco".parse::<VendorRef>().unwrap().to_string(), "acme/labelco");
        assert_eq!("acme/rlhf/".parse::<DatasetRef>().unwrap().to_string(), "acme/rlhf");
        assert_eq!("acme/rlhf/a/b".parse::<ObjectRef>().unwrap().path.as_str(), "a/b");
        for bad in ["acme", "acme/", "ACME/labelco", "acme/a/b"] {
            assert!(bad.parse::<VendorRef>().is_err(), "{bad}");
        }
        for bad in ["acme/rlhf", "acme/rlhf/", "acme/rlhf/a/", "acme/rlhf/../x", "/a/b"] {
            assert!(bad.parse::<ObjectRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_is_a_folder_a_stem_or_one_object() {
        let prefix = |text: &str| text.parse::<Place>().unwrap().prefix;
        assert_eq!(prefix("acme/rlhf"), Prefix::all());
        assert_eq!(prefix("acme/rlhf/"), Prefix::all());
        assert_eq!(prefix("acme/rlhf/math/"), Prefix::Folder("math/".into()));
        assert_eq!(prefix("acme/rlhf/math/0*"), Prefix::Stem("math/0".into()));
        assert_eq!(prefix("acme/rlhf/math"), Prefix::Exact("math".parse().unwrap()));
        assert!("acme".parse::<Place>().is_err());
    }

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
