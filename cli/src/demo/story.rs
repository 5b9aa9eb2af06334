//! The story, step by step. What a step says was seen in this run; what does not come true ends the demo with an error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use strongroom_client::audit::Query;
use strongroom_client::{Body, DatasetRef, GetOptions, PutOptions};
use strongroom_core::grant::{Action, Holder, Limits, Part, Prefix, Scope, Terms};
use strongroom_core::identity::sha256;
use strongroom_core::ids::{GrantId, Index, VendorId};
use strongroom_core::ledger::entry::Event;
use strongroom_core::names::{ObjectPath, TenantName};
use strongroom_core::reason::Reason;

use super::cast::Cast;
use super::data::{Items, Probes, Transcript};
use super::sample::Text;
use super::search::search;
use super::stage::Stage;
use super::tell::{Tell, paced};
use super::theft;
use crate::amount::{Size, counted};
use crate::audit;
use crate::audit::names::Names;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::grant::short_grant;
use crate::put::feed::feed;
use crate::when;

/// The large object, bytes.
const TRANSCRIPT: u64 = 256 * 1024 * 1024;
/// What one release of keys covers at most, bytes: when so many have arrived, the vendor is suspended.
const WINDOW: u64 = 64 * 1024 * 1024;
/// How long a stream may go on after its vendor was suspended.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// What the vendor must get, and nothing else: the SHA-256 of each item.
type Stored = BTreeMap<ObjectPath, [u8; 32]>;

/// Tells it.
pub(super) async fn tell(globals: &Globals, tell: &mut Tell, stage: &Stage, items: &Items) -> Outcome {
    tell.note(
        "A lab keeps a dataset in a vault, lets a vendor read a part of it, and stops the vendor in the middle of a read. Then a key is stolen.",
    )?;
    let cast = open(globals, tell, stage, items).await?;
    let (stored, probes) = store(tell, &cast).await?;
    look(tell, stage, &stored, probes).await?;
    let (vendor, root) = grant(tell, &cast).await?;
    read(tell, &cast, &stored).await?;
    over_reach(tell, &cast).await?;
    cut(tell, &cast, vendor).await?;
    ledger(tell, &cast).await?;
    theft::tell(tell, stage, &cast, root).await?;
    cast.lab.flush().await?;
    Ok(cast.labelco.flush().await?)
}

/// A vault, a tenant, a lab and a vendor with a key each.
async fn open<'a>(globals: &'a Globals, tell: &mut Tell, stage: &Stage, items: &'a Items) -> Outcome<Cast<'a>> {
    tell.step("A vault, and a lab that it has as a tenant")?;
    tell.fact(&format!("the server listens on {}, in this process; TLS 1.3, its key is pinned:", stage.address))?;
    tell.fact(&format!("vault key    {}", stage.vault_key))?;
    let (lab, labelco) = (stage.player("lab").await?, stage.player("labelco").await?);
    tell.fact(&format!("the lab      {}", lab.fingerprint()))?;
    tell.fact(&format!("the vendor   {}", labelco.fingerprint()))?;
    let tenant: TenantName = name("acme")?;
    let (origin, _) = stage.operator().await?.create_tenant(&tenant, &[lab.fingerprint()]).await?;
    tell.fact(&format!("ledger       {origin}"))?;
    let dataset = DatasetRef { tenant: tenant.clone(), dataset: name("rlhf")? };
    lab.create_dataset(&dataset).await?;
    let transcript = dataset.object(name("transcripts/big.txt")?);
    Ok(Cast { tenant, dataset, vendor: name("labelco")?, transcript, items, lab, labelco, globals })
}

fn name<T: std::str::FromStr<Err = strongroom_core::names::NameError>>(text: &str) -> Outcome<T> {
    text.parse().map_err(|error| Failure::new(Reason::InvalidName, format!("{text}: {error}"), "tell its makers"))
}

/// The lab seals its data and puts it.
async fn store(tell: &mut Tell, cast: &Cast<'_>) -> Outcome<(Stored, Vec<Vec<u8>>)> {
    tell.step("The lab seals its data in its own process and puts it")?;
    let (mut stored, mut probes) = (Stored::new(), Probes::default());
    let start = Instant::now();
    let source = cast.items.read();
    let (objects, source) = feed(move || Ok(source));
    let objects = objects.inspect(|(path, bytes)| {
        probes.see(bytes);
        stored.insert(path.clone(), sha256(bytes));
    });
    let done = cast.lab.put_many(&cast.dataset, objects, PutOptions::default());
    let bytes = done.try_fold(0, async |sum, done| Ok(sum + done.size)).await?;
    source.finish().await?;
    let took = start.elapsed();
    let count = stored.len() as u64;
    tell.fact(&format!(
        "{} ({}) in {}/{}, one key each: {}",
        counted(count, "object"),
        cast.items.from,
        cast.dataset,
        cast.items.folder,
        paced(bytes, took)
    ))?;
    let start = Instant::now();
    let done = cast.lab.put(&cast.transcript, Transcript::new(TRANSCRIPT), PutOptions::default()).await?;
    let took = start.elapsed();
    tell.fact(&format!("one large object of generated text, {}: {}", cast.transcript, paced(done.size, took)))?;
    let mut probes = probes.into_texts();
    probes.extend([0, 1_000_000, 2_000_000].map(|number| Text::line(number).trim_end().as_bytes().to_vec()));
    Ok((stored, probes))
}

/// What somebody finds who has the server's disk.
async fn look(tell: &mut Tell, stage: &Stage, stored: &Stored, mut texts: Vec<Vec<u8>>) -> Outcome {
    tell.step("What a thief of the server's disk would find")?;
    let Some(control) = stored.keys().nth(stored.len() / 2) else {
        return Err(Failure::new(Reason::Internal, "nothing was stored", "name other files with --data"));
    };
    let secrets = texts.len();
    texts.push(control.as_str().as_bytes().to_vec());
    let folder = stage.vault_folder();
    let found = tokio::task::spawn_blocking(move || search(&folder, &texts)).await;
    let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let found = found.map_err(|error| Failure::file(&stage.vault_folder(), &error))?;
    let (hits, control_hits) = found.hits.split_at(secrets);
    let leaks = hits.iter().filter(|&&hits| hits > 0).count();
    tell.fact(&format!(
        "every file of the vault's folder was searched: {}, {}",
        counted(found.files, "file"),
        Size(found.bytes)
    ))?;
    tell.fact(&format!("{} of the plaintext were looked for: {leaks} found", counted(secrets as u64, "line")))?;
    let control_hits = control_hits.first().copied().unwrap_or(0);
    tell.fact(&format!(
        "the name {control}, which the catalog keeps readable: found in {}",
        counted(control_hits, "file")
    ))?;
    if leaks > 0 {
        return Err(Failure::new(
            Reason::Integrity,
            "plaintext lies on the server's disk",
            "tell the makers of strongroom",
        ));
    }
    if control_hits == 0 {
        let detail = "the search did not find what is there, so it proves nothing";
        return Err(Failure::new(Reason::Internal, detail, "tell the makers of strongroom"));
    }
    Ok(())
}

/// The lab lets the vendor in.
async fn grant(tell: &mut Tell, cast: &Cast<'_>) -> Outcome<(VendorId, GrantId)> {
    tell.step("The lab lets the vendor read the items, and nothing else")?;
    let (vendor, _) = cast.lab.add_vendor(&cast.tenant, &cast.vendor, &[cast.labelco.fingerprint()]).await?;
    let root = issue(tell, cast, vendor, Prefix::Folder(cast.items.folder.to_owned()), true).await?;
    Ok((vendor, root))
}

/// One hour to list and read `prefix`.
async fn issue(tell: &Tell, cast: &Cast<'_>, vendor: VendorId, prefix: Prefix, delegable: bool) -> Outcome<GrantId> {
    let now = when::now();
    let expires = now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap_or(now);
    let actions = vec![Action::List, Action::Read];
    let terms = Terms {
        holder: Holder::Vendor(vendor),
        parent: None,
        scopes: vec![Scope { actions, dataset: cast.dataset.dataset.clone(), part: Part::Prefix(prefix) }],
        not_before: None,
        expires: when::millis(expires),
        delegable,
        limits: Limits::default(),
        purpose: Some("the demo".to_owned()),
    };
    let told = crate::grant::sentence::terms(&cast.tenant, cast.vendor.as_str(), &terms);
    let (grant, _) = cast.lab.issue_grant(&cast.tenant, terms).await?;
    tell.fact(&format!("{}: {told}", short_grant(&grant)))?;
    Ok(grant)
}

/// The vendor reads what it may.
async fn read(tell: &mut Tell, cast: &Cast<'_>, stored: &Stored) -> Outcome {
    tell.step("The vendor reads")?;
    let start = Instant::now();
    let prefix = Prefix::Folder(cast.items.folder.to_owned());
    let mut fetched = cast.labelco.get_prefix(&cast.dataset, &prefix, GetOptions::default());
    let (mut count, mut bytes, mut same) = (0, 0, 0);
    while let Some(item) = fetched.try_next().await? {
        let body = match item.body? {
            Body::Whole(bytes) => bytes,
            Body::Stream(reader) => reader.into_bytes().await?,
        };
        count += 1;
        bytes += body.len() as u64;
        same += u64::from(stored.get(&item.info.path) == Some(&sha256(&body)));
    }
    let took = start.elapsed();
    tell.fact(&format!(
        "{}: {}; {same} of {} equal what the lab put",
        counted(count, "object"),
        paced(bytes, took),
        stored.len()
    ))?;
    if same == stored.len() as u64 && count == same {
        return Ok(());
    }
    Err(Failure::new(Reason::Integrity, "the vendor did not get what the lab put", "tell the makers of strongroom"))
}

/// The vendor tries what it may not.
async fn over_reach(tell: &Tell, cast: &Cast<'_>) -> Outcome {
    match cast.labelco.get_bytes(&cast.transcript, GetOptions::default()).await {
        Err(error) if error.reason() == Reason::OutOfScope => {
            tell.fact(&format!("it tries {}, and is refused: {}", cast.transcript, error.reason()))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure::new(Reason::Internal, "the vendor got what it may not", "tell the makers of strongroom")),
    }
}

/// The vendor is suspended in the middle of a large read.
async fn cut(tell: &mut Tell, cast: &Cast<'_>, vendor: VendorId) -> Outcome {
    tell.step("The vendor is breached in the middle of a large read")?;
    let grant = issue(tell, cast, vendor, Prefix::Exact(cast.transcript.path.clone()), false).await?;
    let options = GetOptions { grant: Some(grant), ..GetOptions::default() };
    let mut reader = cast.labelco.get(&cast.transcript, options).await?;
    let mut got = 0;
    while got < WINDOW {
        match reader.next().await {
            Some(bytes) => got += bytes?.len() as u64,
            None => break,
        }
    }
    tell.fact(&format!("the vendor has read {} of {}", Size(got), Size(reader.size())))?;
    let note = Some("the demo's incident".to_owned());
    let suspended = cast.lab.suspend_vendor(&cast.tenant, &cast.vendor, note).await?.index;
    let start = Instant::now();
    tell.fact(&format!("the lab suspends it: ledger entry {suspended}"))?;
    let ended = tokio::time::timeout(CUT_WITHIN, async {
        loop {
            match reader.next().await {
                Some(Ok(bytes)) => got += bytes.len() as u64,
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
    });
    let ended = ended.await.unwrap_or(None);
    let took = start.elapsed();
    let Some(error) = ended else {
        let detail = format!("the stream did not end after the suspension; {} arrived", Size(got));
        return Err(Failure::new(Reason::Internal, detail, "tell the makers of strongroom"));
    };
    tell.fact(&format!(
        "the stream ends with {} after {:.0} ms; the vendor got {} in all",
        error.reason(),
        took.as_secs_f64() * 1000.0,
        Size(got)
    ))?;
    let (last, exposed) = released(cast, grant).await?;
    tell.fact(&format!(
        "keys for {} of it were released: that is what the vendor can have kept, whatever arrived",
        Size(exposed)
    ))?;
    tell.fact(&format!(
        "the last key released to it is entry {last}, the suspension is entry {suspended}: nothing came after"
    ))?;
    match cast.labelco.get_bytes(&cast.transcript, GetOptions::default()).await {
        Err(error) => tell.fact(&format!("it tries again, and is refused: {}", error.reason()))?,
        Ok(_) => {
            return Err(Failure::new(Reason::Internal, "a suspended vendor got data", "tell the makers of strongroom"));
        }
    }
    if error.reason() == Reason::VendorSuspended && last < suspended {
        return Ok(());
    }
    let detail = "the read did not end as it must";
    Err(Failure::new(Reason::Internal, detail, "tell the makers of strongroom"))
}

/// By the ledger: the index of the last release to the vendor, and the bytes that were released under `grant`.
async fn released(cast: &Cast<'_>, grant: GrantId) -> Outcome<(Index, u64)> {
    let events = vec![Event::Release, Event::ReleaseRepeat];
    let query = Query { vendor: Some(cast.vendor.clone()), events, ..Query::default() };
    let (mut last, mut bytes) = (Index(0), 0);
    let mut releases = cast.lab.query(&cast.tenant, query);
    while let Some(found) = releases.try_next().await? {
        last = last.max(found.entry.index);
        if found.entry.event == Event::Release && found.entry.grants.contains(&grant) {
            bytes += found.entry.objects.iter().map(|object| object.5).sum::<u64>();
        }
    }
    Ok((last, bytes))
}

/// The whole ledger, as its owner reads it.
async fn ledger(tell: &mut Tell, cast: &Cast<'_>) -> Outcome {
    tell.step("The ledger: who did what, when (UTC), under which grant")?;
    let names = Names::of(&cast.lab, &cast.tenant).await?;
    let entries: Vec<_> = cast.lab.query(&cast.tenant, Query::default()).try_collect().await?;
    let mut run = 0;
    for (at, found) in entries.iter().enumerate() {
        // Of a long run of like entries the first and the last are telling.
        let like = |other: Option<&strongroom_client::audit::LedgerLine>| {
            other
                .is_some_and(|other| (other.entry.event, &other.entry.actor) == (found.entry.event, &found.entry.actor))
        };
        if at > 0 && like(entries.get(at - 1)) && like(entries.get(at + 1)) {
            run += 1;
            continue;
        }
        if run > 0 {
            tell.entry(&format!("{:>6}  and {} more like it", "…", run))?;
            run = 0;
        }
        tell.entry(&audit::line(&cast.tenant, &found.entry, found.private.as_ref(), &found.names, &names))?;
    }
    Ok(())
}
