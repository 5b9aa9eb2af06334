//! One entry on one line.

use strongroom_core::call::{GetItem, Work};
use strongroom_core::ids::GrantId;
use strongroom_core::ledger::about;
use strongroom_core::ledger::entry::{Entry, Outcome, Private};
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;

use crate::amount::{Size, counted};
use crate::audit::names::Names;
use crate::grant::{sentence, short_grant};
use crate::name::short_key;
use crate::output::printable;
use crate::policy;
use crate::when;

/// `    12  2026-03-01 14:05:07  release          labelco              rlhf/math/000007.json (1.2 KiB) · gr_0af1b2c3…`
///
/// `private` is missing where it was erased; `objects` are the entry's objects as `dataset/path`.
pub fn line(
    tenant: &TenantName,
    entry: &Entry,
    private: Option<&Private>,
    objects: &[String],
    names: &Names,
) -> String {
    let mut what = vec![subject(tenant, entry, private, objects, names)];
    if let Some(reason) = entry.reason {
        what.insert(0, reason.to_string());
    }
    if entry.count > 1 {
        what.push(format!("{} times", entry.count));
    }
    let orders_grant = private.is_some_and(|private| private.order.is_some());
    what.extend(entry.grants.first().filter(|_| !orders_grant || entry.outcome == Outcome::Denied).map(short_grant));
    what.extend(about::incident_of(entry, private).map(|incident| incident.to_string()));
    what.retain(|part| !part.is_empty());
    let head = format!(
        "{:>6}  {}  {:<16}  {:<22}  {}",
        entry.index.0,
        when::seconds(entry.time),
        entry.event.name(),
        names.actor(&entry.actor),
        what.join(" · "),
    );
    head.trim_end().to_owned()
}

/// What it is about.
fn subject(tenant: &TenantName, entry: &Entry, private: Option<&Private>, objects: &[String], names: &Names) -> String {
    let bytes: u64 = entry.objects.iter().map(|object| object.5).chain(entry.puts.iter().map(|put| put.2)).sum();
    if !entry.objects.is_empty() || !entry.puts.is_empty() {
        let count = (entry.objects.len() + entry.puts.len()) as u64;
        return format!("{}{} ({})", several(objects, count), segments(entry), Size(bytes));
    }
    let Some(private) = private else { return "erased".to_owned() };
    if let Some(order) = &private.order {
        return instruction(tenant, &order.order.instruction, entry.grants.first(), names);
    }
    if let Some(call) = &private.call {
        return printable(&work(&call.call.work));
    }
    let claims = private.claims.as_ref().map(|claims| claims.sdk.as_str());
    let from = private.source.as_ref().map(|source| format!("from {source}"));
    let said = private.detail.as_deref().or(claims);
    let between = if private.detail.is_some() { " · " } else { " " };
    printable(&said.into_iter().map(str::to_owned).chain(from).collect::<Vec<_>>().join(between))
}

/// The one object by name, many by their first and their number.
fn several(objects: &[String], count: u64) -> String {
    match objects.first() {
        Some(first) if count == 1 => printable(first),
        Some(first) => format!("{}, first {}", counted(count, "object"), printable(first)),
        None => counted(count, "object"),
    }
}

/// Which segments, where a single object was released in part or window by window.
fn segments(entry: &Entry) -> String {
    match &entry.objects[..] {
        [object] if object.3 > 0 || object.4 - object.3 > 1 => format!(" segments {}–{}", object.3, object.4 - 1),
        _ => String::new(),
    }
}

fn work(work: &Work) -> String {
    let read = |item: &GetItem| match (&item.path, &item.id) {
        (None, Some(id)) => format!("{} id {id}", item.dataset),
        (path, _) => format!("{}/{}", item.dataset, path.as_ref().map_or("", |path| path.as_str())),
    };
    let (verb, first, count) = match work {
        Work::Get(items) => ("get", items.first().map(read), items.len()),
        Work::ReleaseKeys(items) => ("release keys", items.first().map(read), items.len()),
        Work::Put(items) => ("put", items.first().map(|item| format!("{}/{}", item.dataset, item.path)), items.len()),
        Work::Delete(items) => {
            ("delete", items.first().map(|item| format!("{}/{}", item.dataset, item.path)), items.len())
        }
    };
    match first {
        Some(first) if count == 1 => format!("{verb} {first}"),
        Some(first) => format!("{verb} {}, first {first}", counted(count as u64, "object")),
        None => verb.to_owned(),
    }
}

fn instruction(tenant: &TenantName, instruction: &Instruction, grant: Option<&GrantId>, names: &Names) -> String {
    let noted = |what: String, note: &Option<String>| match note {
        Some(note) => format!("{what} ({})", printable(note)),
        None => what,
    };
    let keys =
        |keys: &[strongroom_core::identity::Fingerprint]| keys.iter().map(short_key).collect::<Vec<_>>().join(" ");
    match instruction {
        Instruction::CreateTenant { name, admins } => format!("{name}, admin {}", keys(admins)),
        Instruction::AddAdmin { key } | Instruction::RemoveAdmin { key } => short_key(key),
        Instruction::AddVendor { name, keys: own } => format!("{name} {}", keys(own)).trim_end().to_owned(),
        Instruction::SuspendVendor { vendor, note } | Instruction::ResumeVendor { vendor, note } => {
            noted(names.vendor(vendor), note)
        }
        Instruction::OpenIncident { vendor, since, note } => {
            let since = since.map(|since| format!(" since {}", when::seconds(since))).unwrap_or_default();
            noted(format!("{}{since}", names.vendor(vendor)), note)
        }
        Instruction::CloseIncident { note, .. } => noted(String::new(), note).trim_start().to_owned(),
        Instruction::RotateKey { version } => format!("version {version} of the tenant's key is active"),
        Instruction::RotateLogKey { version } => format!("key {version} signs the ledger's checkpoints"),
        Instruction::DestroyKey { version } => format!("version {version} of the tenant's key"),
        Instruction::ShredObjects { dataset, prefix, note } => {
            noted(format!("{dataset}/{}", printable(&prefix.to_string())), note)
        }
        Instruction::ShredDataset { name, note } => noted(format!("all of {name}"), note),
        Instruction::ShredTenant { note } => noted(format!("all of {tenant}"), note),
        Instruction::RotateEvery { every, first } => match every {
            Some(every) => format!("every {}, first {}", when::whole(*every), when::seconds(*first)),
            None => "no longer".to_owned(),
        },
        Instruction::SetEscrow { recipients } => match recipients.is_empty() {
            true => "to nobody".to_owned(),
            false => format!("to {}", recipients.join(" ")),
        },
        Instruction::RemoveVendor { vendor } => names.vendor(vendor),
        Instruction::AddKey { vendor, key } | Instruction::RevokeKey { vendor, key } => {
            format!("{} {}", names.vendor(vendor), short_key(key))
        }
        Instruction::CreateDataset { name } | Instruction::DeleteDataset { name } => name.to_string(),
        Instruction::FreezeDataset { name, note } | Instruction::UnfreezeDataset { name, note } => {
            noted(name.to_string(), note)
        }
        Instruction::FreezeTenant { note } | Instruction::UnfreezeTenant { note } => noted(tenant.to_string(), note),
        Instruction::BlockKey { key, note } | Instruction::UnblockKey { key, note } => noted(short_key(key), note),
        Instruction::IssueGrant(terms) => {
            let grant = grant.map(|grant| format!("{}: ", short_grant(grant))).unwrap_or_default();
            format!("{grant}{}", sentence::terms(tenant, &names.holder(&terms.holder), terms))
        }
        Instruction::RenewGrant { grant, expires } => {
            format!("{} until {}", short_grant(grant), when::seconds(*expires))
        }
        Instruction::SetPolicy(policy) => policy::words(policy),
        Instruction::RevokeGrant { grant, note } => noted(short_grant(grant), note),
    }
}

#[cfg(test)]
mod tests;
