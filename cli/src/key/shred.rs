//! `key shred`: asked for by name, ordered, and followed until the keys are gone.

use std::time::Duration;

use serde::Serialize;
use strongroom_client::Vault;
use strongroom_client::shredding::{Shreddable, Shredding};
use strongroom_core::ids::Index;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::amount::counted;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::{confirm_by_name, note, printable};
use crate::progress::Progress;
use crate::when;

/// The pause between looks at how far it is.
const EVERY: Duration = Duration::from_millis(200);

/// An order to shred as `key shred` and `key status` print it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    what: String,
    index: u64,
    done: u64,
    started: String,
    finished: Option<String>,
    gone_from_backups: Option<String>,
    overwritten: bool,
}

impl Shown {
    pub(super) fn new(tenant: &TenantName, shredding: &Shredding) -> Self {
        let what = match &shredding.dataset {
            Some(dataset) => format!("{tenant}/{dataset}/{}", shredding.prefix),
            None => tenant.to_string(),
        };
        Self {
            what,
            index: shredding.entry.0,
            done: shredding.done,
            started: when::rfc3339(shredding.started),
            finished: shredding.finished.map(when::rfc3339),
            gone_from_backups: shredding.gone_from_backups.map(when::rfc3339),
            overwritten: shredding.overwritten,
        }
    }

    pub(super) fn words(&self) -> String {
        let (what, entry) = (printable(&self.what), self.index);
        let Some(finished) = &self.finished else {
            let met = counted(self.done, "object");
            return format!(
                "{what} is being shredded (entry {entry}): nothing of it is released any more; {met} so far"
            );
        };
        let mut text = format!(
            "{what} is shredded (entry {entry}): the keys of {} were destroyed, {finished}",
            counted(self.done, "object")
        );
        if !self.overwritten {
            text.push_str(
                "\n  PostgreSQL keeps old rows until VACUUM has removed them, and its log until the segments are recycled or \
                 archived ones are deleted: run VACUUM",
            );
        }
        text.push_str(&match &self.gone_from_backups {
            Some(at) => format!("\n  backups of the database that hold the keys will have aged out {at}: complete only then"),
            None => "\n  backups of the database made before still hold the keys, and the server was not told how long they are \
                     kept (limits.backup_retention): complete only when they are gone"
                .to_owned(),
        });
        text
    }
}

/// Asks for the name again, orders, and waits until the keys are gone.
pub(super) async fn shred(
    globals: &Globals,
    vault: &Vault,
    what: &Shreddable,
    reason: Option<String>,
    detach: bool,
) -> Outcome {
    let done = vault.shred(what, reason).await?;
    let tenant = what.tenant();
    if !detach {
        note(&format!("nothing of {} is released any more (entry {})", printable(&what.to_string()), done.index));
    }
    let mut told = 0;
    let bar = Progress::objects(globals, "shredding", None);
    loop {
        let shredding = vault.shredding(tenant, done.index).await?.ok_or_else(|| gone(done.index))?;
        bar.add(shredding.done.saturating_sub(told));
        told = shredding.done;
        if detach || shredding.finished.is_some() {
            drop(bar);
            return globals.output.result(&Shown::new(tenant, &shredding), Shown::words);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What is asked before anything is done.
pub(super) fn ask(what: &Shreddable, yes: bool) -> Outcome {
    let words = match what {
        Shreddable::Objects(_) => "every generation of what is there",
        Shreddable::Dataset(..) => "the whole dataset, which is no more then",
        Shreddable::Tenant(_) => "ALL of the tenant; only its ledger stays",
    };
    let name = what.to_string();
    confirm_by_name(&format!("Destroy the keys of {}: {words}. This cannot be undone.", printable(&name)), &name, yes)
}

fn gone(entry: Index) -> Failure {
    Failure::new(
        Reason::Integrity,
        format!("the vault does not know the order of entry {entry}"),
        "look at `strongroom key status`",
    )
}
