//! The three things a prefix can be, so that neighbours are never covered by accident.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::{NameError, ObjectPath, check_segments};

/// A part of a dataset: a folder, all that starts so, or exactly one object.
///
/// ```
/// use strongroom_core::grant::Prefix;
/// let covers = |prefix: &str, path: &str| prefix.parse::<Prefix>().unwrap().covers(&path.parse().unwrap());
/// assert!(covers("math/", "math/1"));
/// assert!(!covers("math/", "math") && !covers("math/", "mathematics/1"));
/// assert!(covers("math/0000*", "math/000017.json") && covers("", "anything"));
/// assert!(covers("math", "math") && !covers("math", "math/1"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// `math/`: all below it; the empty text is the dataset's own folder.
    Folder(String),
    /// `math/0000*`: all paths that start with the text before the star.
    Stem(String),
    /// `math/000007.json`: exactly that object.
    Exact(ObjectPath),
}

impl Prefix {
    /// Everything in the dataset.
    pub fn all() -> Self {
        Self::Folder(String::new())
    }

    /// Whether `path` lies in it.
    pub fn covers(&self, path: &ObjectPath) -> bool {
        match self {
            Self::Folder(start) | Self::Stem(start) => path.as_str().starts_with(start),
            Self::Exact(exact) => exact == path,
        }
    }

    /// Whether all that `inner` covers lies in it.
    pub fn covers_prefix(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::Folder(outer) | Self::Stem(outer), Self::Folder(text) | Self::Stem(text)) => text.starts_with(outer),
            (_, Self::Exact(path)) => self.covers(path),
            (Self::Exact(_), _) => false,
        }
    }

    /// Whether some path may lie in both: of two prefixes that share one, one lies in the other.
    pub fn intersects(&self, other: &Self) -> bool {
        self.covers_prefix(other) || other.covers_prefix(self)
    }

    /// The text that every path in it starts with.
    pub fn start(&self) -> &str {
        match self {
            Self::Folder(start) | Self::Stem(start) => start,
            Self::Exact(path) => path.as_str(),
        }
    }
}

impl FromStr for Prefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(stem) = text.strip_suffix('*') {
            check_start(stem)?;
            Ok(Self::Stem(stem.to_owned()))
        } else if text.is_empty() {
            Ok(Self::all())
        } else if let Some(folder) = text.strip_suffix('/') {
            folder.parse::<ObjectPath>()?;
            Ok(Self::Folder(text.to_owned()))
        } else {
            text.parse().map(Self::Exact)
        }
    }
}

/// A beginning of a path: every rule of a path but that its last segment may be short of anything.
fn check_start(stem: &str) -> Result<(), NameError> {
    if stem.len() > ObjectPath::MAX_LEN {
        return Err(NameError::Length);
    }
    let (folders, last) = stem.rsplit_once('/').map_or((None, stem), |(folders, last)| (Some(folders), last));
    if let Some(folders) = folders {
        folders.parse::<ObjectPath>()?;
    }
    // `.` and `..` are beginnings of fine names, but a stem that ends so is a trick more often than a need.
    check_segments(last)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(start) => f.write_str(start),
            Self::Stem(start) => write!(f, "{start}*"),
            Self::Exact(path) => f.write_str(path.as_str()),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_prefixes_are_refused() {
        for bad in ["/", "a//", "../", "a/../*", "/a", "a//*", "e\u{301}/", "a\n*", "./x"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// A prefix covers another exactly if it covers every path that the other covers, over a small universe of paths.
        #[test]
        fn covering_is_inclusion(outer in "([ab]/){0,2}([ab]{0,2}\\*?)", inner in "([ab]/){0,2}([ab]{0,2}\\*?)") {
            let (Ok(outer), Ok(inner)) = (outer.parse::<Prefix>(), inner.parse::<Prefix>()) else { return Ok(()) };
            let paths: Vec<ObjectPath> = universe();
            let included = paths.iter().all(|path| !inner.covers(path) || outer.covers(path));
            prop_assert_eq!(outer.covers_prefix(&inner), included, "{} {}", outer, inner);
            let shared = paths.iter().any(|path| inner.covers(path) && outer.covers(path));
            prop_assert_eq!(outer.intersects(&inner), shared, "{} {}", outer, inner);
            prop_assert_eq!(inner.intersects(&outer), shared, "{} {}", inner, outer);
        }
    }

    /// All paths of up to four segments of up to three letters out of `a`, `b`, `c`, cut to what the prefixes can tell apart.
    fn universe() -> Vec<ObjectPath> {
        let names: Vec<String> = ["a", "b", "c"]
            .iter()
            .flat_map(|x| ["", "a", "b", "c"].iter().flat_map(move |y| ["", "a", "c"].map(|z| format!("{x}{y}{z}"))))
            .collect();
        let mut paths = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..3 {
            paths = paths
                .iter()
                .flat_map(|start| names.iter().map(move |name| format!("{start}{name}/")))
                .filter(|path| path.len() <= 8)
                .collect();
            all.extend(paths.iter().map(|path| path[..path.len() - 1].parse().unwrap()));
        }
        all
    }
}
