//! The end of the story: a worker's key is stolen, and `incident open` says what the thief had.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use strongroom_client::{GetOptions, ListOptions, Listed, Vault, VendorRef};
use strongroom_core::grant::{Action, Holder, Limits, Part, Prefix, Scope, Terms};
use strongroom_core::ids::{GrantId, Millis};
use strongroom_core::names::ObjectPath;
use strongroom_core::reason::Reason;

use super::cast::Cast;
use super::stage::Stage;
use super::tell::Tell;
use crate::amount::{Size, counted};
use crate::exit::{Failure, Outcome};
use crate::grant::short_grant;
use crate::incident::{Plan, respond};
use crate::when;

/// How many items the worker's budget is for.
const BUDGET: usize = 24;
/// How many items the thief knows of.
const KNOWN: usize = 32;
/// Items that are larger are passed over: the thief reads each whole, in one release.
const LARGEST: u64 = 1024 * 1024;
/// How often the thief tries to go on when nothing is left.
const TRIES: u64 = 3;

/// What the thief saw come out, and was refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Loot {
    objects: u64,
    bytes: u64,
    bytes_total: u64,
    denied: u64,
}

/// Tells it: what the answer says must be what the thief had.
pub(super) async fn tell(tell: &mut Tell, stage: &Stage, cast: &Cast<'_>, root: GrantId) -> Outcome {
    tell.step("A worker's key is stolen, and the lab asks what the thief had")?;
    cast.lab.resume_vendor(&cast.tenant, &cast.vendor, Some("the drill is over".to_owned())).await?;
    let prefix = Prefix::Folder(cast.items.folder.to_owned());
    let listed = cast.lab.list(&cast.dataset, &prefix, ListOptions::default());
    let small = listed.try_filter_map(async |listed| match listed {
        Listed::Object(info) if info.size <= LARGEST => Ok(Some((info.path, info.size))),
        _ => Ok(None),
    });
    let items: Vec<(ObjectPath, u64)> = small.take(KNOWN).try_collect().await?;
    let budget: u64 = items.iter().take(BUDGET).map(|(_, size)| size).sum();
    let worker = stage.player("worker").await?;
    let (grant, since) = delegate(cast, &worker, root, &prefix, budget).await?;
    tell.fact(&format!("labelco lets a worker read up to {} of the items: {}", Size(budget), short_grant(&grant)))?;
    let thief = stage.stolen("worker", "thief").await?;
    let loot = steal(cast, &thief, &items).await?;
    tell.fact(&format!(
        "somebody has the worker's key file, and reads {}, {} ({} with what it read again)",
        counted(loot.objects, "object"),
        Size(loot.bytes),
        Size(loot.bytes_total)
    ))?;
    tell.fact(&format!(
        "beyond the budget it is refused: {}, {}",
        counted(loot.denied, "attempt"),
        Reason::QuotaExceeded
    ))?;
    let vendor = VendorRef { tenant: cast.tenant.clone(), vendor: cast.vendor.clone() };
    tell.fact(&format!("$ strongroom incident open {vendor} --since {}", when::rfc3339(since)))?;
    let plan = Plan { vendor, since: Some(since), note: Some("a worker's key was stolen".to_owned()), dry_run: false };
    let response = respond(cast.globals, &cast.lab, &plan).await?;
    for line in response.answer.words(&response.found.own).lines() {
        tell.fact(line)?;
    }
    let totals = &response.found.own.exposure.totals;
    let (objects, bytes, bytes_total) = (totals.objects, totals.bytes, totals.bytes_total);
    if (Loot { objects, bytes, bytes_total, denied: totals.denied }) != loot {
        let detail = "the answer is not what the thief had";
        return Err(Failure::new(Reason::Internal, detail, "tell the makers of strongroom"));
    }
    thief.flush().await?;
    Ok(worker.flush().await?)
}

/// The vendor passes an hour and a budget on to a worker; with the time of that.
async fn delegate(
    cast: &Cast<'_>,
    worker: &Vault,
    root: GrantId,
    prefix: &Prefix,
    budget: u64,
) -> Outcome<(GrantId, Millis)> {
    let now = when::now();
    let expires = now.checked_add(jiff::SignedDuration::from_mins(30)).unwrap_or(now);
    let actions = vec![Action::List, Action::Read];
    let terms = Terms {
        holder: Holder::Key(worker.fingerprint()),
        parent: Some(root),
        scopes: vec![Scope { actions, dataset: cast.dataset.dataset.clone(), part: Part::Prefix(prefix.clone()) }],
        not_before: None,
        expires: when::millis(expires),
        delegable: false,
        // What it reads again costs it, too.
        limits: Limits { bytes: Some(budget), ..Limits::default() },
        purpose: Some("the demo's worker".to_owned()),
    };
    let (grant, done) = cast.labelco.issue_grant(&cast.tenant, terms).await?;
    Ok((grant, done.time))
}

/// Reads the first item twice, and then one after the other, until nothing comes out any more.
async fn steal(cast: &Cast<'_>, thief: &Vault, items: &[(ObjectPath, u64)]) -> Outcome<Loot> {
    let mut loot = Loot::default();
    let read =
        async |path: &ObjectPath| thief.get_bytes(&cast.dataset.object(path.clone()), GetOptions::default()).await;
    let mut had = BTreeSet::new();
    for (path, _) in items.first().into_iter().chain(items) {
        match read(path).await {
            Ok(bytes) => {
                if had.insert(path) {
                    loot.objects += 1;
                    loot.bytes += bytes.len() as u64;
                }
                loot.bytes_total += bytes.len() as u64;
            }
            Err(error) if error.reason() == Reason::QuotaExceeded => {
                loot.denied += 1;
                if loot.denied == TRIES {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(loot)
}
