//! `key rekey`: new keys for what is under a prefix, told object by object where something was in the way.

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use strongroom_client::rekeying::{RekeyOutcome, Rekeyed};
use strongroom_client::{Failed, PrefixName, Vault};
use strongroom_core::ids::{Generation, Index};
use strongroom_core::names::ObjectPath;

use crate::amount::{Size, counted};
use crate::args::Globals;
use crate::exit::{Failure, Outcome};
use crate::output::{note, printable};
use crate::progress::Progress;
use crate::tally::Tally;

/// The most names of skipped objects that are told.
const MOST: usize = 100;

/// What `key rekey` prints.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    done: u64,
    bytes: u64,
    /// Objects that were changed meanwhile: their newer generations have keys of their own.
    changed: Vec<String>,
    /// Goes on where this one ended, or does nothing.
    before: u64,
}

impl Shown {
    fn words(&self) -> String {
        let mut text = format!("{}: {} ({}) under new keys", self.name, counted(self.done, "object"), Size(self.bytes));
        for path in self.changed.iter().take(MOST) {
            text.push_str(&format!("\n  {} was changed meanwhile: left as it is", printable(path)));
        }
        if self.changed.len() > MOST {
            text.push_str(&format!("\n  and {} more", self.changed.len() - MOST));
        }
        text
    }
}

/// Gives everything under a prefix that was put before an entry a new key.
pub(super) async fn rekey(globals: &Globals, vault: &Vault, name: &PrefixName, before: Option<u64>) -> Outcome {
    let dataset = name.dataset_ref();
    let before = match before {
        Some(before) => Index(before),
        None => vault.ledger_size(&name.tenant).await?,
    };
    let (mut tally, mut changed) = (Tally::default(), Vec::new());
    let bar = Progress::bytes(globals, "re-keying", None);
    let mut listed = vault.to_rekey(&dataset, &name.prefix, before);
    let go_on = |failure: Failure| {
        note(&format!(
            "to go on where it ended: strongroom key rekey {} --before {before} --yes",
            printable(&name.to_string())
        ));
        failure
    };
    loop {
        // A page at a time: what is listed is not held for longer than it is worked on.
        let page: Vec<(ObjectPath, Generation)> =
            listed.by_ref().take(4096).try_collect().await.map_err(Failure::from).map_err(go_on)?;
        if page.is_empty() {
            break;
        }
        let mut rekeyed = vault.rekey(&dataset, futures::stream::iter(page), None);
        while let Some(Rekeyed { path, outcome, .. }) = rekeyed.next().await {
            match outcome {
                RekeyOutcome::Done(done) => {
                    bar.add(done.size);
                    tally.add(done.size);
                }
                RekeyOutcome::Changed => changed.push(path.to_string()),
                RekeyOutcome::Failed(error) => tally.fail(Failed { path, error }).map_err(go_on)?,
            }
        }
    }
    drop(bar);
    let shown = Shown { name: name.to_string(), done: tally.done, bytes: tally.bytes, changed, before: before.0 };
    globals.output.result(&shown, Shown::words)?;
    tally.finish()
}
