//! `key escrow`: who can open a tenant's objects without the vault, and the export that they need for it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use serde::Serialize;
use strongroom_client::Vault;
use strongroom_client::escrow::{Escrow, ExportPart};
use strongroom_core::escrow::{Checksum, ExportHead, HEAD_FILE, OBJECTS_FILE, versions};
use strongroom_core::exact;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::amount::counted;
use crate::exit::{Failure, Outcome};
use crate::folder::{Folder, Pending};
use crate::globals::Globals;
use crate::output::{note, printable};
use crate::progress::Progress;

/// The pause between looks whether all is sealed.
const EVERY: Duration = Duration::from_millis(200);
/// How long that may take before the command no longer waits: looks of 200 ms.
const LOOKS: u32 = 150;

/// What `key escrow` prints.
#[derive(Debug, Serialize)]
struct Shown {
    tenant: String,
    recipients: Vec<String>,
    complete: bool,
    in_the_way: Option<String>,
}

impl Shown {
    fn words(&self) -> String {
        if self.recipients.is_empty() {
            return format!("{}: no escrow: with the server and its root key gone, nothing opens", self.tenant);
        }
        let state = if self.complete { "every version of its key is" } else { "the versions of its key are being" };
        let way = self.in_the_way.as_ref().map(|why| format!("\nin the way: {}", printable(why))).unwrap_or_default();
        let list: String = self.recipients.iter().map(|to| format!("\n  {to}")).collect();
        format!("{}: {state} sealed to{list}{way}", self.tenant)
    }
}

/// Adds and takes out recipients, if there are some to; shows who there are.
pub(super) async fn set(
    globals: &Globals,
    vault: &Vault,
    tenant: &TenantName,
    to: &[String],
    remove: &[String],
) -> Outcome {
    let mut escrow = vault.escrow(tenant).await?;
    if let Some(unknown) = remove.iter().find(|text| !escrow.recipients.contains(text)) {
        let advice = "look at the list: strongroom key escrow TENANT";
        return Err(Failure::new(Reason::NotFound, format!("{unknown} is no recipient of {tenant}"), advice));
    }
    let mut wanted: Vec<String> = escrow.recipients.iter().filter(|text| !remove.contains(text)).cloned().collect();
    wanted.extend(to.iter().filter(|text| !escrow.recipients.contains(text)).cloned());
    if !to.is_empty() || !remove.is_empty() {
        vault.set_escrow(tenant, &wanted).await?;
        for _ in 0..LOOKS {
            escrow = vault.escrow(tenant).await?;
            if escrow.complete || escrow.in_the_way.is_some() {
                break;
            }
            tokio::time::sleep(EVERY).await;
        }
    }
    let Escrow { recipients, complete, in_the_way } = escrow;
    globals.output.result(&Shown { tenant: tenant.to_string(), recipients, complete, in_the_way }, Shown::words)
}

/// What `key escrow --export` prints.
#[derive(Debug, Serialize)]
struct Exported {
    tenant: String,
    folder: String,
    objects: u64,
    versions: Vec<u32>,
}

/// Writes the export into a folder: the objects first, and the file that vouches for them last.
pub(super) async fn export(globals: &Globals, vault: &Vault, tenant: &TenantName, folder: &Path) -> Outcome {
    let mut parts = vault.export_catalog(tenant).await?;
    let mut into = Folder::at(folder);
    let (mut file, pending) = into.file(OBJECTS_FILE)?;
    let failed = |error: std::io::Error| Failure::file(&folder.join(OBJECTS_FILE), &error);
    let bar = Progress::objects(globals, "exporting", None);
    let mut sum = Checksum::default();
    let mut head: Option<ExportHead> = None;
    while let Some(part) = parts.next().await {
        match part? {
            ExportPart::Objects(lines) => {
                let before = sum.objects;
                sum.update(&lines);
                file.write_all(&lines).map_err(failed)?;
                bar.add(sum.objects - before);
            }
            ExportPart::Head(last) => head = Some(*last),
        }
    }
    let missing = || Failure::new(Reason::Integrity, "the export ended before its keys", "run it again");
    let mut head = head.ok_or_else(missing)?;
    (head.objects, head.digest) = (sum.objects, sum.digest());
    file.sync_all().map_err(failed)?;
    let (mut file, head_pending) = into.file(HEAD_FILE)?;
    let failed = |error: std::io::Error| Failure::file(&folder.join(HEAD_FILE), &error);
    let bytes = exact::to_vec(&head);
    let bytes = bytes.map_err(|error| Failure::new(Reason::Internal, error.to_string(), "report this"))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    drop(bar);
    commit(pending, head_pending)?;
    note(
        "names, sizes and places of all objects are now on this disk; contents open with an escrow identity and the blobs alone",
    );
    let shown = Exported {
        tenant: tenant.to_string(),
        folder: folder.display().to_string(),
        objects: head.objects,
        versions: versions(&head.keys).into_iter().collect(),
    };
    globals.output.result(&shown, |shown| {
        format!("{}: {} exported to {}", shown.tenant, counted(shown.objects, "object"), shown.folder)
    })
}

fn commit(objects: Pending, head: Pending) -> Outcome {
    objects.commit()?;
    head.commit()
}
