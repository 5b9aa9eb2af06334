//! `audit log`: the ledger in readable lines, or as it is.

use std::io::Write;

use futures::TryStreamExt;
use jiff::Timestamp;
use serde::Serialize;
use strongroom_client::Vault;
use strongroom_client::audit::{LedgerLine, Query};
use strongroom_core::grant::Prefix;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::Index;
use strongroom_core::ledger::entry::{Entry, Event, Outcome as Done, Private};
use strongroom_core::names::{DatasetName, ObjectPath, TenantName, VendorName};

use crate::audit::line;
use crate::audit::names::Names;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::output::{Format, note, write_json};
use crate::when;
use crate::when::Moment;

/// The flags of `audit log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom audit log acme
  strongroom audit log acme --vendor labelco --since 2h
  strongroom audit log acme --object rlhf/math/000007.json --since 2026-03-01 --until 2026-04-01
  strongroom audit log acme --event denied --event release --prefix math/ --dataset rlhf
  strongroom audit log acme --incident in_0af1…                  # the orders that belong to it
  strongroom audit log acme --output json | jq 'select(.entry.event == \"release\")'")]
pub struct Log {
    /// The tenant.
    tenant: TenantName,
    /// Only from this time on: 2h (ago), 2026-03-01, 2026-03-01T14:05.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only these events, such as release, denied, grant.issued, object.put; may be given again.
    #[arg(long, value_name = "EVENT", value_parser = event)]
    event: Vec<Event>,
    #[command(flatten)]
    about: About,
    /// At most this many entries.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Leave out so many of them first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,
    /// Only from this index on.
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
}

/// What entries are about; all that is given must hold.
#[derive(Debug, clap::Args)]
pub(super) struct About {
    /// Only what this vendor's own keys did, and orders that name it. What its workers did stands under the grant (--grant).
    #[arg(long, value_name = "VENDOR")]
    pub(super) vendor: Option<VendorName>,
    /// Only what this key did.
    #[arg(long, value_name = "SHA256:…")]
    pub(super) key: Option<Fingerprint>,
    /// Only what is about objects of this dataset.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<DatasetName>,
    /// Only what is about objects here: math/, 'math/0000*', math/000007.json.
    #[arg(long, value_name = "PREFIX", requires = "dataset")]
    prefix: Option<Prefix>,
    /// Only what is about this object: rlhf/math/000007.json.
    #[arg(long, value_name = "DATASET/PATH", value_parser = object, conflicts_with_all = ["dataset", "prefix"])]
    object: Option<(DatasetName, ObjectPath)>,
    /// Only what was done, or only what was denied.
    #[arg(long, value_name = "done|denied", value_parser = outcome)]
    pub(super) outcome: Option<Done>,
}

impl About {
    /// The dataset that it is about.
    pub(super) fn dataset(&self) -> Option<&DatasetName> {
        self.object.as_ref().map(|(dataset, _)| dataset).or(self.dataset.as_ref())
    }

    /// The part of it.
    pub(super) fn prefix(&self) -> Option<Prefix> {
        let object = self.object.as_ref().map(|(_, path)| Prefix::Exact(path.clone()));
        object.or_else(|| self.prefix.clone())
    }

    /// The question to the vault for what is about all that, with the grant and the incident that stand with every verb.
    pub(super) fn query(&self, globals: &Globals) -> Query {
        Query {
            key: self.key,
            vendor: self.vendor.clone(),
            grant: globals.grant,
            dataset: self.dataset().cloned(),
            prefix: self.prefix(),
            outcome: self.outcome,
            incident: globals.incident,
            ..Query::default()
        }
    }
}

pub(super) fn event(text: &str) -> Result<Event, String> {
    Event::ALL.into_iter().find(|event| event.name() == text).ok_or_else(|| {
        let names = Event::ALL.map(Event::name);
        format!("there is no such event; there are {}", names.join(", "))
    })
}

fn object(text: &str) -> Result<(DatasetName, ObjectPath), String> {
    let (dataset, path) = text.split_once('/').ok_or("an object is DATASET/PATH")?;
    let dataset = dataset.parse().map_err(|error| format!("the dataset: {error}"))?;
    Ok((dataset, path.parse().map_err(|error| format!("the path: {error}"))?))
}

fn outcome(text: &str) -> Result<Done, String> {
    match text {
        "done" => Ok(Done::Done),
        "denied" => Ok(Done::Denied),
        _ => Err("an outcome is done or denied".to_owned()),
    }
}

/// An entry as programs get it.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    /// The entry's time once more, as text.
    time: String,
    /// The public part, as it is hashed.
    entry: &'a Entry,
    /// The private part; none if it was erased.
    private: Option<&'a Private>,
    /// `dataset/path` of each object that the entry names, in its order.
    objects: &'a [String],
}

impl Log {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant.
    pub fn run(self, globals: &Globals) -> Outcome {
        globals.with_vault(async |vault| {
            // JSON has ids, as they stand in the ledger; lines have names.
            let names = match globals.output {
                Format::Table => Names::of(vault, &self.tenant).await?,
                Format::Json => Names::default(),
            };
            let mut lines = vault.query(&self.tenant, self.query(globals, when::now()));
            let mut out = std::io::BufWriter::new(std::io::stdout());
            let mut is_empty = true;
            while let Some(entry) = lines.try_next().await? {
                is_empty = false;
                write(&mut out, &self.tenant, globals.output, &names, &entry)
                    .map_err(|error| Failure::stdio(&error))?;
            }
            if is_empty && globals.output == Format::Table {
                note("note: no entry fits");
            }
            out.flush().map_err(|error| Failure::stdio(&error))
        })
    }

    fn query(&self, globals: &Globals, now: Timestamp) -> Query {
        Query {
            from: Index(self.from.unwrap_or(0)),
            to: None,
            since: self.since.map(|moment| moment.millis(now)),
            until: self.until.map(|moment| moment.millis(now)),
            events: self.event.clone(),
            limit: self.limit,
            offset: self.offset,
            ..self.about.query(globals)
        }
    }
}

impl<'a> Shown<'a> {
    pub(super) fn of(line: &'a LedgerLine) -> Self {
        let time = when::rfc3339(line.entry.time);
        Self { time, entry: &line.entry, private: line.private.as_ref(), objects: &line.names }
    }
}

/// Writes one entry: a line for people, or all of it for programs.
pub(super) fn write(
    out: &mut impl Write,
    tenant: &TenantName,
    format: Format,
    names: &Names,
    found: &LedgerLine,
) -> std::io::Result<()> {
    let private = found.private.as_ref();
    match format {
        Format::Json => write_json(out, &Shown::of(found)),
        Format::Table => writeln!(out, "{}", line(tenant, &found.entry, private, &found.names, names)),
    }
}

impl Names {
    /// Of all vendors that a tenant has or had.
    ///
    /// # Errors
    /// The caller is no admin of the tenant.
    pub async fn of(vault: &Vault, tenant: &TenantName) -> Outcome<Self> {
        let vendors = vault.vendors(tenant).await?;
        Ok(Self::new(vendors.into_iter().map(|vendor| (vendor.id, vendor.name.to_string()))))
    }
}
