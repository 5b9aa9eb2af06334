//! The entries of an exported ledger, one after the other, each checked on the way: no vault is asked.

use std::io;
use std::path::Path;

use strongroom_core::ids::Index;
use strongroom_core::ledger::replay::{Finding, Rule};
use strongroom_core::ledger::verify::{Expected, LogFinding, check_log};
use strongroom_core::ledger::{Entry, Private};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

use crate::audit::exported::Exported;
use crate::exit::{Failure, Outcome};
use crate::progress::Progress;

/// Gives each entry of the export in `folder` to `each`, with the ledger's origin and size, and its private part unless that was
/// erased. Signature, hashes, tree and private parts are checked; whether each entry was allowed is for `audit verify`. Returns the
/// number of entries.
///
/// # Errors
/// The folder is no export, or does not hold; what `each` says.
pub(super) fn each(
    folder: &Path,
    bar: &Progress,
    mut each: impl FnMut(&Origin, u64, &Entry, Option<&Private>) -> Outcome,
) -> Outcome<u64> {
    if let Err(error) = std::fs::read_dir(folder) {
        return Err(Failure::file(folder, &error));
    }
    let mut stopped = None;
    let mut files = Exported::at(folder);
    let checked = check_log(
        &mut files,
        &Expected::default(),
        |done, of| bar.set(done, of),
        |checkpoint, public, private| {
            let entry = Entry::from_bytes(public).map_err(|error| finding(None, Rule::Exact, &error))?;
            let index = Some(entry.index);
            let private = match private {
                [] => None,
                bytes if Private::hash(bytes) != entry.private => {
                    return Err(finding(index, Rule::PrivateHash, &"it is another"));
                }
                bytes => Some(Private::from_bytes(bytes).map_err(|error| finding(index, Rule::PrivateExact, &error))?),
            };
            each(&checkpoint.origin, checkpoint.size.0, &entry, private.as_ref()).map_err(|failure| {
                stopped = Some(failure);
                finding(index, Rule::Exact, &"stopped")
            })
        },
    );
    if let Some(failure) = stopped {
        return Err(failure);
    }
    checked.map(|(checkpoint, ..)| checkpoint.size.0).map_err(|finding| failure(folder, finding))
}

fn finding(index: Option<Index>, rule: Rule, detail: &dyn std::fmt::Display) -> Finding {
    Finding { index: index.unwrap_or_default(), rule, detail: detail.to_string() }
}

fn failure(folder: &Path, finding: LogFinding<io::Error>) -> Failure {
    match finding {
        LogFinding::Read { path, error } => Failure::file(&folder.join(path), &error),
        LogFinding::List(error) => Failure::file(folder, &error),
        finding => {
            let advice = "run audit verify on it; export it again, and keep both";
            Failure::new(Reason::Integrity, finding.to_string(), advice)
        }
    }
}
