//! `audit mine`: what the caller's own keys were released, across tenants.

use std::io::Write;

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_client::Vault;
use strongroom_client::audit::OwnRelease;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::amount::{Size, counted};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::{Format, note, printable, write_json};
use crate::when::{self, Moment};

/// The flags of `audit mine`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom --home labelco audit mine
  strongroom --home labelco audit mine acme --since 7d --output json")]
pub struct Mine {
    /// The tenants to ask; all that this home has met if none is named.
    tenants: Vec<TenantName>,
    /// Only from this time on: 2h (ago), 2026-03-01, 2026-03-01T14:05.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

/// A release as programs get it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    tenant: &'a TenantName,
    index: u64,
    time: String,
    key: Fingerprint,
    grant: Option<GrantId>,
    /// Whether the same request had the keys already.
    repeat: bool,
    objects: Vec<Part<'a>>,
}

#[derive(Debug, Serialize)]
struct Part<'a> {
    object: &'a str,
    /// The first segment, and one past the last.
    segments: (u32, u32),
    bytes: u64,
}

impl Mine {
    /// Does it.
    ///
    /// # Errors
    /// A tenant that was named does not know the caller.
    pub fn run(self, globals: &Globals) -> Outcome {
        let now = when::now();
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.millis(now));
        let (since, until) = (moment(self.since), moment(self.until));
        globals.with_vault(async |vault| {
            let named = !self.tenants.is_empty();
            let tenants = if named { self.tenants.clone() } else { vault.known_tenants() };
            if tenants.is_empty() {
                let advice = "name them: strongroom audit mine TENANT…";
                return Err(Failure::new(Reason::NotFound, "this home has met no tenant yet", advice));
            }
            let mut out = std::io::BufWriter::new(std::io::stdout());
            for tenant in &tenants {
                match tell(vault, tenant, since, until, globals.output, &mut out).await {
                    // A tenant that was met before may not know this key any more.
                    Err(failure) if !named && failure.code == Reason::Unauthenticated.code() => {
                        note(&format!("note: {tenant} does not know this key"));
                    }
                    told => told?,
                }
            }
            out.flush().map_err(|error| Failure::stdio(&error))
        })
    }
}

async fn tell(
    vault: &Vault,
    tenant: &TenantName,
    since: Option<strongroom_core::ids::Millis>,
    until: Option<strongroom_core::ids::Millis>,
    format: Format,
    out: &mut impl Write,
) -> Outcome {
    let mut releases = vault.own_releases(tenant, since, until);
    while let Some(release) = releases.try_next().await? {
        let written = match format {
            Format::Json => write_json(out, &shown(tenant, &release)),
            Format::Table => writeln!(out, "{}", words(tenant, &release)),
        };
        written.map_err(|error| Failure::stdio(&error))?;
    }
    Ok(())
}

fn shown<'a>(tenant: &'a TenantName, release: &'a OwnRelease) -> Shown<'a> {
    let parts = release.parts.iter();
    Shown {
        tenant,
        index: release.index.0,
        time: when::rfc3339(release.time),
        key: release.key,
        grant: release.grant,
        repeat: release.repeat,
        objects: parts.map(|part| Part { object: &part.name, segments: part.segments, bytes: part.bytes }).collect(),
    }
}

/// `acme  17  2026-03-01 14:05:07  SHA256:q0T…  rlhf/math/000007.json, 1.2 KiB  gr_0af1…`
fn words(tenant: &TenantName, release: &OwnRelease) -> String {
    let first = release.parts.first().map(|part| printable(&part.name)).unwrap_or_default();
    let what = match release.parts.len() {
        1 => first,
        more => format!("{}, first {first}", counted(more as u64, "object")),
    };
    let bytes = Size(release.parts.iter().map(|part| part.bytes).sum());
    let grant = release.grant.map(|grant| format!("  {}", short_grant(&grant))).unwrap_or_default();
    let again = if release.repeat { " (again)" } else { "" };
    let (time, key) = (when::seconds(release.time), short_key(&release.key));
    format!("{tenant}  {}  {time}  {key}  {what}, {bytes}{again}{grant}", release.index)
}

#[cfg(test)]
mod tests {
    use strongroom_client::audit::OwnPart;
    use strongroom_core::ids::{Index, Millis};

    use super::*;

    #[test]
    fn a_release_is_one_line() {
        let part = |name: &str, bytes| OwnPart { name: name.into(), segments: (0, 1), bytes };
        let mut release = OwnRelease {
            index: Index(17),
            time: Millis(1_700_000_000_000),
            key: Fingerprint::from_bytes([7; 32]),
            grant: None,
            repeat: false,
            parts: vec![part("rlhf/a\nb", 10)],
        };
        let tenant = "acme".parse().unwrap();
        let line = words(&tenant, &release);
        assert!(
            line.starts_with("acme  17  2023-11-14 22:13:20  SHA256:") && line.ends_with("rlhf/a b, 10 B"),
            "{line}"
        );
        release.parts.push(part("rlhf/c", 20));
        release.repeat = true;
        assert!(words(&tenant, &release).ends_with("2 objects, first rlhf/a b, 30 B (again)"));
    }
}
