//! Names as people write them: `tenant/dataset/path` and its beginnings.

use std::fmt;
use std::str::FromStr;

use strongroom_core::grant::Prefix;
use strongroom_core::names::{DatasetName, NameError, ObjectPath, TenantName, VendorName};
use strongroom_core::reason::Reason;

use crate::error::Error;

/// An object: `tenant/dataset/path`.
///
/// ```
/// use strongroom_client::ObjectName;
/// let name: ObjectName = "acme/rlhf/math/1".parse()?;
/// assert_eq!(name.path.as_str(), "math/1");
/// assert!("acme/rlhf/math/".parse::<ObjectName>().is_err(), "a folder is no object");
/// # Ok::<(), strongroom_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Whose it is.
    pub tenant: TenantName,
    /// In which dataset.
    pub dataset: DatasetName,
    /// Its path there.
    pub path: ObjectPath,
}

/// A dataset: `tenant/dataset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetRef {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name.
    pub dataset: DatasetName,
}

/// A part of a dataset: `tenant/dataset/prefix`, where a prefix is a folder (`math/`), a beginning (`math/0000*`) or one object
/// (`math/7`). `tenant/dataset` and `tenant/dataset/` are all of it.
///
/// ```
/// use strongroom_client::PrefixName;
/// let folder: PrefixName = "acme/rlhf/math/".parse()?;
/// assert!(folder.prefix.covers(&"math/1".parse().unwrap()));
/// assert_eq!(folder.to_string(), "acme/rlhf/math/");
/// assert_eq!("acme/rlhf".parse::<PrefixName>()?.to_string(), "acme/rlhf/");
/// # Ok::<(), strongroom_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixName {
    /// Whose it is.
    pub tenant: TenantName,
    /// In which dataset.
    pub dataset: DatasetName,
    /// Which part of it.
    pub prefix: Prefix,
}

/// A vendor of a tenant: `tenant/vendor`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VendorRef {
    /// Whose vendor it is.
    pub tenant: TenantName,
    /// Its name.
    pub vendor: VendorName,
}

impl DatasetRef {
    /// The object at `path` in it.
    pub fn object(&self, path: ObjectPath) -> ObjectName {
        ObjectName { tenant: self.tenant.clone(), dataset: self.dataset.clone(), path }
    }
}

impl ObjectName {
    /// The dataset that it is in.
    pub fn dataset_ref(&self) -> DatasetRef {
        DatasetRef { tenant: self.tenant.clone(), dataset: self.dataset.clone() }
    }
}

impl PrefixName {
    /// The dataset that it is in.
    pub fn dataset_ref(&self) -> DatasetRef {
        DatasetRef { tenant: self.tenant.clone(), dataset: self.dataset.clone() }
    }
}

impl FromStr for ObjectName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant), Some(dataset), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(shape(text, "TENANT/DATASET/PATH"));
        };
        Ok(Self { tenant: part(text, tenant)?, dataset: part(text, dataset)?, path: part(text, path)? })
    }
}

impl FromStr for DatasetRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (tenant, dataset) = text.split_once('/').ok_or_else(|| shape(text, "TENANT/DATASET"))?;
        Ok(Self { tenant: part(text, tenant)?, dataset: part(text, dataset)? })
    }
}

impl FromStr for PrefixName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant), Some(dataset)) = (parts.next(), parts.next()) else {
            return Err(shape(text, "TENANT/DATASET/PREFIX"));
        };
        let prefix = part(text, parts.next().unwrap_or_default())?;
        Ok(Self { tenant: part(text, tenant)?, dataset: part(text, dataset)?, prefix })
    }
}

impl FromStr for VendorRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (tenant, vendor) = text.split_once('/').ok_or_else(|| shape(text, "TENANT/VENDOR"))?;
        Ok(Self { tenant: part(text, tenant)?, vendor: part(text, vendor)? })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.dataset, self.path)
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.dataset)
    }
}

impl fmt::Display for PrefixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.dataset, self.prefix)
    }
}

impl fmt::Display for VendorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.vendor)
    }
}

fn shape(text: &str, form: &str) -> Error {
    Error::new(Reason::InvalidName, format!("{text:?} is not of the form {form}"))
}

fn part<T: FromStr<Err = NameError>>(whole: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|why| Error::new(Reason::InvalidName, format!("{text:?} in {whole:?}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["acme/rlhf/a", "acme/rlhf/math/0.json", "a/b/c d/é"] {
            assert_eq!(text.parse::<ObjectName>().unwrap().to_string(), text);
        }
        for text in ["acme/rlhf/", "acme/rlhf/math/", "acme/rlhf/math/0*", "acme/rlhf/*", "acme/rlhf/math"] {
            assert_eq!(text.parse::<PrefixName>().unwrap().to_string(), text);
        }
        assert_eq!("acme/rlhf".parse::<DatasetRef>().unwrap().to_string(), "acme/rlhf");
        assert_eq!("acme/labelco".parse::<VendorRef>().unwrap().to_string(), "acme/labelco");
    }

    #[test]
    fn what_is_not_a_name_is_refused_and_never_repaired() {
        for bad in [
            "",
            "acme",
            "acme/rlhf",
            "acme/rlhf/",
            "acme//a",
            "/acme/rlhf/a",
            "acme/rlhf/a/",
            "acme/rlhf/../a",
            "A/b/c",
        ] {
            assert_eq!(bad.parse::<ObjectName>().unwrap_err().reason(), Reason::InvalidName, "{bad}");
        }
        for bad in ["", "acme", "acme/", "/rlhf", "acme/rlhf/", "acme/rlhf/a"] {
            assert_eq!(bad.parse::<DatasetRef>().unwrap_err().reason(), Reason::InvalidName, "{bad}");
        }
        for bad in ["", "acme", "acme//", "acme/rlhf//", "acme/rlhf/./", "acme/rlhf/**/x//"] {
            assert_eq!(bad.parse::<PrefixName>().unwrap_err().reason(), Reason::InvalidName, "{bad}");
        }
    }
}
