//! Ever more live grants under one vendor: what the next one costs, and what it takes to stop them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use strongroom_client::{
    Action, Connect, GetOptions, GrantId, Holder, Identity, Limits, Millis, ObjectName, Part, Prefix, PutOptions,
    Reason, Scope, Terms, Vault,
};

use crate::Result;
use crate::measure::{fdatasync, percentile};
use crate::vault::{Running, copy};
use crate::work::Setting;

/// Callers that issue grants at once.
const CALLERS: usize = 64;
/// How often a single step is measured.
const TIMES: usize = 100;

/// Grows a tree of one root and its children for each of `sizes`, and measures with each before its root is revoked.
pub async fn run(setting: &Setting, sizes: &[usize]) -> Result<()> {
    let mut running = Running::start(setting, "grants-vault").await?;
    let identity = Identity::generate()?;
    let object: ObjectName = "acme/bench/math/000000".parse()?;
    running.lab.put_bytes(&object, Bytes::from_static(&[7; 1024]), PutOptions::default()).await?;
    let added = running.lab.add_vendor(&running.tenant, &"labelco".parse()?, &[identity.fingerprint()]).await?;
    let somebody = Identity::generate()?;
    for size in sizes {
        let now = now_of(&running).await?;
        let (root, _) = running.lab.issue_grant(&running.tenant, terms(Holder::Vendor(added.0), None, now)?).await?;
        let vendor = Connect::to(&running.address, running.key, copy(&identity)?).open().await?;
        let start = Instant::now();
        issue(&vendor, &running, root, now, *size).await?;
        println!("-- {size} live grants under one vendor");
        println!(
            "issued by {CALLERS} callers at once                            {:.0} grants/s",
            *size as f64 / start.elapsed().as_secs_f64()
        );
        fdatasync(setting)?;
        let child = Terms { delegable: false, ..terms(Holder::Key(somebody.fingerprint()), Some(root), now)? };
        let mut times = Vec::new();
        let mut last = root;
        for _ in 0..TIMES {
            let start = Instant::now();
            last = vendor.issue_grant(&running.tenant, child.clone()).await?.0;
            times.push(start.elapsed());
        }
        print("the next grant", &mut times);
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let start = Instant::now();
            vendor.get_bytes(&object, GetOptions { grant: Some(root), ..GetOptions::default() }).await?;
            times.push(start.elapsed());
        }
        print("the next release", &mut times);
        stops(&running, &vendor, &object, root).await?;
        drop(vendor);
        println!("a node's start                                             {:.0} ms", running.restart()?);
        running.reconnect().await?;
        let holder = Connect::to(&running.address, running.key, copy(&somebody)?).open().await?;
        revocation(&running, &holder, &object, root, last).await?;
        fdatasync(setting)?;
    }
    Ok(())
}

/// The root of the tree is revoked; its descendants give nothing from there on. What it writes is one entry and two rows.
async fn revocation(
    running: &Running,
    holder: &Vault,
    object: &ObjectName,
    root: GrantId,
    descendant: GrantId,
) -> Result<()> {
    let under = || GetOptions { grant: Some(descendant), ..GetOptions::default() };
    holder.get_bytes(object, under()).await?;
    let start = Instant::now();
    running.lab.revoke_grant(&running.tenant, root, None).await?;
    let answered = start.elapsed();
    match holder.get_bytes(object, under()).await {
        Err(error) if error.reason() == Reason::GrantRevoked => {}
        other => return Err(format!("a descendant of what was revoked: {:?}", other.map(|_| ())).into()),
    }
    let (answered, refused) = (answered.as_secs_f64() * 1e3, start.elapsed().as_secs_f64() * 1e3);
    println!("the root is revoked: to the answer {answered:.2} ms, to the refusal of a descendant {refused:.2} ms");
    Ok(())
}

/// What time it is by the vault's ledger.
async fn now_of(running: &Running) -> Result<Millis> {
    Ok(running.lab.set_policy(&running.tenant, strongroom_client::Policy::default()).await?.time)
}

/// From the call to suspend a vendor to its answer, after which nothing is released.
async fn stops(running: &Running, vendor: &Vault, object: &ObjectName, root: GrantId) -> Result<()> {
    let labelco = "labelco".parse()?;
    let (mut times, mut refusals) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let start = Instant::now();
        running.lab.suspend_vendor(&running.tenant, &labelco, None).await?;
        times.push(start.elapsed());
        let refused = vendor.get_bytes(object, GetOptions { grant: Some(root), ..GetOptions::default() }).await;
        if refused.is_ok() {
            return Err("a release after a suspension".into());
        }
        refusals.push(start.elapsed());
        running.lab.resume_vendor(&running.tenant, &labelco, None).await?;
    }
    print("the vendor is suspended, call to answer", &mut times);
    print("the vendor is suspended, call to the first refusal", &mut refusals);
    Ok(())
}

async fn issue(vendor: &Vault, running: &Running, root: GrantId, now: Millis, count: usize) -> Result<()> {
    let left = Arc::new(AtomicUsize::new(count));
    let tasks: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (vendor, left, tenant) = (vendor.clone(), left.clone(), running.tenant.clone());
            tokio::spawn(async move {
                let key = Identity::generate()?.fingerprint();
                let child = Terms { delegable: false, ..terms(Holder::Key(key), Some(root), now)? };
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    vendor.issue_grant(&tenant, child.clone()).await?;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

fn terms(holder: Holder, parent: Option<GrantId>, now: Millis) -> Result<Terms> {
    Ok(Terms {
        holder,
        parent,
        scopes: vec![Scope {
            actions: vec![Action::List, Action::Read],
            dataset: "bench".parse()?,
            part: Part::Prefix("math/".parse::<Prefix>()?),
        }],
        not_before: None,
        expires: Millis(now.0 + 12 * 3_600_000),
        delegable: true,
        limits: Limits::default(),
        purpose: None,
    })
}

fn print(what: &str, times: &mut [Duration]) {
    let (p50, p99) = (percentile(times, 0.5), percentile(times, 0.99));
    println!("{what:<58} p50 {p50:.2} ms, p99 {p99:.2} ms");
}
