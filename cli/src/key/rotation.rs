//! `key rotate`, `key status`, `key destroy`: told on a line, with a bar while it goes on.

use futures::StreamExt;
use serde::Serialize;
use strongroom_client::admin::OrderDone;
use strongroom_client::rotation::{KeyStatus, Rotation};
use strongroom_client::shredding::Shredding;
use strongroom_client::{Error, Vault};
use strongroom_core::ids::Index;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use super::shred;
use crate::amount::counted;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::progress::Progress;
use crate::when;

/// What `key rotate` and `key status` print.
#[derive(Debug, Serialize)]
struct Shown {
    tenant: String,
    active: u32,
    versions: Vec<u32>,
    rotation: Option<ShownRotation>,
    /// How often the vault rotates by itself, in milliseconds, and when next.
    rotate_every: Option<u64>,
    rotate_next: Option<String>,
    /// Orders to shred, newest first.
    shreds: Vec<shred::Shown>,
}

#[derive(Debug, Serialize)]
struct ShownRotation {
    version: u32,
    done: u64,
    total: u64,
    skipped: u64,
    started: String,
    finished: Option<String>,
    /// From its beginning to its end, in milliseconds.
    took: Option<u64>,
}

impl From<Rotation> for ShownRotation {
    fn from(rotation: Rotation) -> Self {
        Self {
            version: rotation.version,
            done: rotation.done,
            total: rotation.total,
            skipped: rotation.skipped,
            started: when::rfc3339(rotation.started),
            finished: rotation.finished.map(when::rfc3339),
            took: rotation.finished.map(|at| at.0.saturating_sub(rotation.started.0)),
        }
    }
}

impl Shown {
    fn words(&self) -> String {
        let versions: Vec<String> = self.versions.iter().map(u32::to_string).collect();
        let mut text = match versions.is_empty() {
            true => format!("{}: all versions of its key are destroyed", self.tenant),
            false => {
                format!(
                    "{}: version {} of its key is active; there are {}",
                    self.tenant,
                    self.active,
                    versions.join(", ")
                )
            }
        };
        if let (Some(every), Some(next)) = (self.rotate_every, &self.rotate_next) {
            text.push_str(&format!("\n  the vault rotates it by itself every {}, next {next}", when::whole(every)));
        }
        text.push_str(&self.rotated());
        self.shreds.iter().for_each(|shred| text.push_str(&format!("\n{}", shred.words())));
        text
    }

    fn rotated(&self) -> String {
        let mut text = String::new();
        let Some(rotation) = &self.rotation else { return text };
        let (count, version) = (counted(rotation.done, "object"), rotation.version);
        text.push_str(&match (&rotation.finished, rotation.took) {
            (Some(finished), Some(took)) => format!(
                "\n  {count} wrapped anew under version {version} in {:.1} s, finished {finished}",
                took as f64 / 1000.0
            ),
            _ => format!(
                "\n  {} of {} wrapped anew under version {version} so far; the vault goes on by itself",
                rotation.done,
                counted(rotation.total, "object")
            ),
        });
        if rotation.skipped > 0 {
            text.push_str(&format!(
                "\n  {} left: their keys do not open in their rows, which the server's log names. No older version can be destroyed before \
                 they are put right, or shredded, and the key is rotated again",
                counted(rotation.skipped, "object")
            ));
        }
        text
    }
}

/// Rotates, and waits until everything is under the new version.
pub(super) async fn rotate(globals: &Globals, vault: &Vault, tenant: &TenantName, detach: bool) -> Outcome {
    let (version, done) = vault.rotate_key(tenant).await?;
    if detach {
        return show(globals, tenant, vault.key_status(tenant).await?, &[]);
    }
    crate::output::note(&format!("version {version} of the key of {tenant} is active (entry {})", done.index.0));
    let status = follow(globals, vault, tenant).await.map_err(|error| {
        let detail = format!(
            "version {version} is active, and the vault goes on by itself, but cannot be asked how far it is: {error}"
        );
        Failure::new(error.reason(), detail, format!("see how far it is with: strongroom key status {tenant}"))
    })?;
    show(globals, tenant, status, &[])
}

/// Shows a bar until the rotation is finished. A server that is started anew meanwhile is asked again.
async fn follow(globals: &Globals, vault: &Vault, tenant: &TenantName) -> Result<KeyStatus, Error> {
    let mut bar: Option<Progress> = None;
    let (mut last, mut broken) = (None, 0);
    let mut statuses = vault.follow_rotation(tenant).await?;
    while let Some(status) = statuses.next().await {
        match status {
            Ok(status) => {
                if let Some(rotation) = status.rotation {
                    let begin = || Progress::objects(globals, "wrapping anew", Some(rotation.total));
                    bar.get_or_insert_with(begin).set(rotation.done, rotation.total);
                }
                (last, broken) = (Some(status), 0);
            }
            Err(error) if error.reason() == Reason::Unavailable && broken < 5 => {
                broken += 1;
                statuses = vault.follow_rotation(tenant).await?;
            }
            Err(error) => return Err(error),
        }
    }
    match last {
        Some(status) => Ok(status),
        None => vault.key_status(tenant).await,
    }
}

/// How often: a length of time, or `off`.
#[derive(Debug, Clone, Copy)]
pub enum Every {
    /// So often.
    Length(when::Length),
    /// No longer.
    Off,
}

impl std::str::FromStr for Every {
    type Err = when::NotALength;

    fn from_str(text: &str) -> Result<Self, when::NotALength> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::Length) }
    }
}

/// Has the vault rotate by itself, or no longer.
pub(super) async fn every(globals: &Globals, vault: &Vault, tenant: &TenantName, every: Every) -> Outcome {
    let every = match every {
        Every::Length(when::Length(length)) => Some(length.unsigned_abs()),
        Every::Off => None,
    };
    vault.rotate_every(tenant, every).await?;
    show(globals, tenant, vault.key_status(tenant).await?, &[])
}

/// Shows a status.
pub(super) fn show(globals: &Globals, tenant: &TenantName, status: KeyStatus, shreds: &[Shredding]) -> Outcome {
    let KeyStatus { active, versions, rotation, schedule } = status;
    let rotation = rotation.map(ShownRotation::from);
    let shreds = shreds.iter().map(|shredding| shred::Shown::new(tenant, shredding)).collect();
    let shown = Shown {
        tenant: tenant.to_string(),
        active,
        versions,
        rotation,
        rotate_every: schedule.map(|(every, _)| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
        rotate_next: schedule.map(|(_, next)| when::rfc3339(next)),
        shreds,
    };
    globals.output.result(&shown, Shown::words)
}

/// Why a version was not destroyed, and where to look.
pub(super) fn kept(tenant: &TenantName, error: Error) -> Failure {
    let looks = matches!(error.reason(), Reason::PreconditionFailed | Reason::NotFound);
    let mut failure = Failure::from(error);
    if looks {
        failure.advice = format!("see which versions there are with: strongroom key status {tenant}").into();
    }
    failure
}

#[derive(Debug, Serialize)]
struct Destroyed {
    tenant: String,
    version: u32,
    index: u64,
    time: String,
}

/// Tells that a version is gone.
pub(super) fn destroyed(globals: &Globals, tenant: &TenantName, version: u32, done: &OrderDone) -> Outcome {
    let gone = Destroyed { tenant: tenant.to_string(), version, index: done.index.0, time: when::rfc3339(done.time) };
    globals.output.result(&gone, |gone| {
        format!("version {} of the key of {} is destroyed (entry {})", gone.version, gone.tenant, gone.index)
    })
}

/// What `key rotate --log` prints.
#[derive(Debug, Serialize)]
struct LogRotated {
    tenant: String,
    version: u32,
    index: u64,
    log_key: String,
}

/// Has another key sign the ledger's checkpoints, and says which.
///
/// # Errors
/// The caller is no admin (of the operators' own ledger: no operator), or somebody else rotated at the same time.
pub(super) async fn rotate_log(globals: &Globals, vault: &Vault, tenant: &TenantName) -> Outcome {
    let (version, done) = vault.rotate_log_key(tenant).await?;
    let keys = vault.log_keys(tenant, Index(done.index.0 + 1)).await?;
    let (tenant, log_key) = (tenant.to_string(), keys.newest().to_string());
    globals.output.result(&LogRotated { tenant, version, index: done.index.0, log_key }, |rotated| {
        format!("{}: entry {}; checkpoints after it are signed by {}", rotated.tenant, rotated.index, rotated.log_key)
    })
}
