//! How much room is left on the disks that the vault writes to.
//!
//! A disk that is full is met with LEDGER_UNAVAILABLE: what cannot be recorded is not released. This warns long before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{BlobsUrl, CatalogUrl, Config};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(10);
/// How often it is said again, in looks.
const SAY_EVERY: u32 = 6;
/// Bytes that are little, and bytes that are nearly nothing.
const LITTLE: u64 = 1 << 30;
const LAST: u64 = 128 << 20;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Plenty,
    Little,
    Last,
}

impl Room {
    fn of(free: u64) -> Self {
        match free {
            LITTLE.. => Self::Plenty,
            LAST.. => Self::Little,
            _ => Self::Last,
        }
    }
}

/// A folder of the local disk that is written to, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) what: &'static str,
    pub(crate) folder: PathBuf,
}

impl Place {
    /// The bytes that this process may still write there; none where that cannot be told.
    pub(crate) fn free(&self) -> Option<u64> {
        free(&self.folder)
    }
}

/// The folders that a vault with this configuration writes to: without room in any of them it releases nothing, or takes nothing in.
pub(crate) fn places(config: &Config) -> Vec<Place> {
    // What a node remembers of ledgers, before it releases.
    let mut places = vec![Place { what: "folder", folder: config.folder.clone() }];
    if let CatalogUrl::Sqlite(file) = &config.catalog {
        places.push(Place { what: "catalog", folder: file.parent().unwrap_or(&config.folder).to_owned() });
    }
    if let BlobsUrl::File(folder) = &config.blobs {
        places.push(Place { what: "blobs", folder: folder.clone() });
    }
    places
}

/// Watches these folders until `stop`.
pub(crate) fn watch(places: Vec<Place>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut before = vec![Room::Plenty; places.len()];
        let mut round = 0_u32;
        loop {
            for (place, before) in places.iter().zip(&mut before) {
                // A folder that cannot be looked at says so wherever it is used.
                let Some(free) = place.free() else { continue };
                let (room, mib, what, folder) = (Room::of(free), free >> 20, place.what, place.folder.display());
                if room != *before || round.is_multiple_of(SAY_EVERY) {
                    match room {
                        Room::Plenty if *before == Room::Plenty => {}
                        Room::Plenty => tracing::info!(what, %folder, mib, "there is room again"),
                        Room::Little => tracing::warn!(what, %folder, mib, "the disk is nearly full"),
                        Room::Last => tracing::error!(
                            what, %folder, mib,
                            "the disk is full in a moment: then nothing is recorded, and nothing released"
                        ),
                    }
                }
                *before = room;
            }
            round = round.wrapping_add(1);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(EVERY) => {}
            }
        }
    })
}

fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_by_bytes() {
        assert_eq!([0, LAST - 1].map(Room::of), [Room::Last; 2]);
        assert_eq!([LAST, LITTLE - 1].map(Room::of), [Room::Little; 2]);
        assert_eq!([LITTLE, u64::MAX].map(Room::of), [Room::Plenty; 2]);
        assert!(free(Path::new("/")).is_some() && free(Path::new("/nowhere")).is_none());
    }
}
