//! `incident show` and `incident list`: what the ledger tells of incidents, in the vault or in an export of it.

use serde::Serialize;
use strongroom_client::incidents::IncidentInfo;
use strongroom_core::audit::called::Called;
use strongroom_core::ids::IncidentId;
use strongroom_core::ledger::Event;
use strongroom_core::names::DatasetName;

use crate::amount::{Size, counted};
use crate::audit::answered::no_incident;
use crate::audit::source::{Ledger, Source};
use crate::exit::Outcome;
use crate::globals::Globals;
use crate::name::short_key;
use crate::output::{Row, printable};
use crate::when;

/// The flags of `incident show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom incident show acme in_0af1…
  strongroom incident show acme-ledger/ in_0af1…         # by an export of the ledger, without the vault")]
pub struct Show {
    /// The tenant, or the folder of an export.
    #[arg(value_name = "TENANT|DIR")]
    source: Source,
    /// The incident.
    #[arg(value_name = "in_…")]
    id: IncidentId,
}

/// The flags of `incident list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  strongroom incident list acme
  strongroom incident list acme-ledger/                   # by an export of the ledger")]
pub struct List {
    /// The tenant, or the folder of an export.
    #[arg(value_name = "TENANT|DIR")]
    source: Source,
}

impl Show {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; the folder holds no ledger; there is no such incident.
    pub fn run(self, globals: &Globals) -> Outcome {
        let shown = self.source.read(globals, async |ledger| shown(ledger, self.id).await)?;
        globals.output.result(&shown, Shown::words)
    }
}

async fn shown(ledger: &mut Ledger<'_>, id: IncidentId) -> Outcome<Shown> {
    let size = ledger.size_to_fold().await?;
    let found = IncidentInfo::all(&ledger.roster(size).await?).into_iter().find(|info| info.id == id);
    let shown = Shown::from(found.ok_or_else(|| no_incident(id))?);
    let calls = ledger.incident_calls(id, size).await?.into_iter().map(ShownCalls::from).collect();
    Ok(Shown { calls: Some(calls), ..shown })
}

impl List {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; the folder holds no ledger.
    pub fn run(self, globals: &Globals) -> Outcome {
        let all = self.source.read(globals, async |ledger| {
            let size = ledger.size_to_fold().await?;
            Ok(IncidentInfo::all(&ledger.roster(size).await?))
        })?;
        globals.output.list(&all.into_iter().map(Shown::from).collect::<Vec<_>>())
    }
}

/// An incident as programs get it, and as a row.
#[derive(Debug, Serialize)]
struct Shown {
    incident: IncidentId,
    vendor: String,
    /// From when on the vendor is in doubt; null for all of time.
    since: Option<String>,
    opened: u64,
    opened_at: String,
    closed: Option<u64>,
    note: Option<String>,
    orders: Vec<ShownOrder>,
    /// What was done in calls that name it; of `incident show` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<Vec<ShownCalls>>,
}

#[derive(Debug, Serialize)]
struct ShownOrder {
    index: u64,
    time: String,
    event: &'static str,
    by: String,
    /// The dataset that it is about, or about a part of.
    dataset: Option<DatasetName>,
    note: Option<String>,
}

/// What one key did in one way.
#[derive(Debug, Serialize)]
struct ShownCalls {
    event: &'static str,
    by: String,
    entries: u64,
    objects: u64,
    bytes: u64,
    first: u64,
    first_at: String,
    last: u64,
    last_at: String,
}

impl From<Called> for ShownCalls {
    fn from(called: Called) -> Self {
        Self {
            event: called.event.name(),
            by: called.by.to_string(),
            entries: called.entries,
            objects: called.objects,
            bytes: called.bytes,
            first: called.first.index.0,
            first_at: when::rfc3339(called.first.time),
            last: called.last.index.0,
            last_at: when::rfc3339(called.last.time),
        }
    }
}

impl From<IncidentInfo> for Shown {
    fn from(info: IncidentInfo) -> Self {
        let IncidentInfo { id, incident, vendor, orders } = info;
        let order = |told: strongroom_core::audit::roster::Happening| ShownOrder {
            index: told.at.index.0,
            time: when::rfc3339(told.at.time),
            event: told.event.name(),
            by: told.by.to_string(),
            dataset: told.dataset,
            note: told.note,
        };
        Self {
            incident: id,
            vendor: vendor.map_or_else(|| incident.vendor.to_string(), |name| name.to_string()),
            since: incident.since.map(when::rfc3339),
            opened: incident.opened.index.0,
            opened_at: when::rfc3339(incident.opened.time),
            closed: incident.closed.map(|at| at.index.0),
            note: incident.note,
            orders: orders.into_iter().map(order).collect(),
            calls: None,
        }
    }
}

impl Row for Shown {
    const HEADS: &'static [&'static str] = &["INCIDENT", "VENDOR", "OPENED (UTC)", "STATE", "NOTE"];

    fn cells(&self) -> Vec<String> {
        let state = self.closed.map_or_else(|| "open".to_owned(), |index| format!("closed (entry {index})"));
        let note = self.note.as_deref().map(printable).unwrap_or_default();
        vec![self.incident.to_string(), self.vendor.clone(), when::seconds_of(&self.opened_at), state, note]
    }
}

impl Shown {
    fn words(&self) -> String {
        let since = self
            .since
            .as_deref()
            .map_or_else(|| "all of time".to_owned(), |since| format!("since {} UTC", when::seconds_of(since)));
        let mut text = format!("{}  {}  {}, in doubt: {since}", self.incident, self.vendor, self.cells()[3]);
        let by = |key: &str| key.parse().map_or_else(|_| key.to_owned(), |key| short_key(&key));
        let line =
            |index, time, event, by, more| format!("\n{index:>6}  {}  {event:<16}  {by}{more}", when::seconds_of(time));
        let orders = self.orders.iter().map(|order| {
            let note = order.note.as_deref().map(|note| format!("  ({})", printable(note))).unwrap_or_default();
            let dataset = order.dataset.as_ref().map(|dataset| format!("  {dataset}")).unwrap_or_default();
            (order.index, line(order.index, &order.time, order.event, by(&order.by), dataset + &note))
        });
        let calls = self.calls.iter().flatten().map(|calls| {
            let what = match calls.event == Event::Denied.name() {
                true => counted(calls.entries, "refusal"),
                false => format!("{} ({})", counted(calls.objects, "object"), Size(calls.bytes)),
            };
            let last = if calls.entries > 1 { format!(", the last is entry {}", calls.last) } else { String::new() };
            let more = format!("  {what}{last}");
            (calls.first, line(calls.first, &calls.first_at, calls.event, by(&calls.by), more))
        });
        let mut lines: Vec<(u64, String)> = orders.chain(calls).collect();
        lines.sort_by_key(|(index, _)| *index);
        lines.into_iter().for_each(|(_, line)| text.push_str(&line));
        text
    }
}
