//! `key rekey`: new keys for what is under a prefix, told object by object where something was in the way.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use strongroom_client::rekeying::{RekeyOutcome, Rekeyed};
use strongroom_client::{DatasetRef, Failed, PrefixName, Vault};
use strongroom_core::audit::Question;
use strongroom_core::audit::exposure::Since;
use strongroom_core::ids::{Generation, Index};
use strongroom_core::names::{DatasetName, ObjectPath, TenantName, VendorName};

use crate::amount::{Size, counted};
use crate::audit::answered::of_incident;
use crate::audit::asked;
use crate::audit::source::{Ledger, Purpose};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::name::TenantOrPlace;
use crate::output::{note, printable};
use crate::progress::Progress;
use crate::tally::Tally;
use crate::when::{self, Moment};

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

/// What is to be read and sealed anew, in words.
pub(super) fn shown(name: &TenantOrPlace) -> String {
    match name {
        TenantOrPlace::Tenant(tenant) => format!("what was exposed in {tenant}"),
        TenantOrPlace::Place(place) => format!("all of {place}"),
    }
}

/// What `key rekey` prints of an exposure.
#[derive(Debug, Serialize)]
struct ShownExposed {
    tenant: TenantName,
    vendor: VendorName,
    done: u64,
    bytes: u64,
    /// Exposed objects that were changed before, or meanwhile: a newer generation, a new key, deleted or shredded.
    left: u64,
}

/// Gives new keys to exactly what a vendor was exposed to and what is still as it was, from some time on or since an incident.
pub(super) async fn exposed(
    globals: &Globals,
    vault: &Vault,
    tenant: &TenantName,
    vendor: Option<VendorName>,
    since: Option<Moment>,
) -> Outcome {
    let now = when::now();
    let mut ledger = Ledger::vault(vault, tenant.clone(), globals);
    let size = ledger.size_to_fold().await?;
    let question = match (vendor, globals.incident) {
        (Some(_), Some(_)) | (None, None) => {
            let advice = "add --exposed-by VENDOR, or --incident in_…; or name a part of a dataset";
            return Err(Failure::usage("it is what somebody was exposed to: say who", advice));
        }
        (None, Some(incident)) => of_incident(&mut ledger, incident, size).await?,
        (vendor, None) => Question { vendor, since: asked::since(since, now)?, ..Question::default() },
    };
    let vendor = question.vendor.clone().ok_or_else(|| Failure::usage("it names no vendor", "name one"))?;
    let exposure = ledger.fold(question, size, Purpose::Answer).await?.finish(size, when::millis(now));
    let mut wanted: BTreeMap<DatasetName, Vec<(ObjectPath, Generation)>> = BTreeMap::new();
    for object in exposure.objects.iter().filter(|object| object.since == Since::Current) {
        if let Some((dataset, path)) = &object.name {
            wanted.entry(dataset.clone()).or_default().push((path.clone(), object.generation));
        }
    }
    let count = wanted.values().map(|objects| objects.len() as u64).sum();
    let mut left = exposure.objects.len() as u64 - count;
    let mut tally = Tally::default();
    let bar = Progress::objects(globals, "re-keying", Some(count));
    for (dataset, objects) in wanted {
        let dataset = DatasetRef { tenant: tenant.clone(), dataset };
        let mut rekeyed = vault.rekey(&dataset, futures::stream::iter(objects), None);
        while let Some(Rekeyed { path, outcome, .. }) = rekeyed.next().await {
            bar.add(1);
            match outcome {
                RekeyOutcome::Done(done) => tally.add(done.size),
                RekeyOutcome::Changed => left += 1,
                RekeyOutcome::Failed(error) => tally.fail(Failed { path, error })?,
            }
        }
    }
    drop(bar);
    let shown = ShownExposed { tenant: tenant.clone(), vendor, done: tally.done, bytes: tally.bytes, left };
    globals.output.result(&shown, |shown| {
        let (done, bytes) = (counted(shown.done, "object"), Size(shown.bytes));
        let left = match shown.left {
            0 => String::new(),
            n => format!("; {} that it was exposed to had changed already", counted(n, "object")),
        };
        format!("{done} ({bytes}) of {} that {} was exposed to are under new keys{left}", shown.tenant, shown.vendor)
    })?;
    tally.finish()
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
