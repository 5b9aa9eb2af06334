//! `audit blast`: what somebody could take from now on, at most.

use std::io::Write;

use serde::Serialize;
use strongroom_core::audit::Question;
use strongroom_core::audit::blast::{Blast as Found, Bound, Most, Reach};
use strongroom_core::audit::exposure::Exposure;
use strongroom_core::grant::Holder;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::GrantId;
use strongroom_core::reason::Reason;

use super::answered::report;
use super::asked::{Asked, place, time, who};
use super::exposure::told::{shorten, vendor};
use super::source::Source;
use crate::amount::{Size, counted};
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::{Format, Row, write_json, write_table};
use crate::when;

/// The flags of `audit blast`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It is a bound, of what is there now: what covers it, what is left of budgets (of the grants and of those above them), and rates until
the grants end. Nobody can take more; often they could take as much. A suspended vendor could take nothing.

With --max-objects or --max-bytes, more than that is exit code 3: for a pipeline that must not let a grant grow too wide.

JSON is one line: total, hour and new (objects and bytes: until the last grant ends, within the next hour, and what of the total they
were not released before), had, until, grants (each with what it covers, total, hour, and bound: scope, budget, budget_above or
rate), suspended, frozen and erased.

Examples:
  strongroom audit blast acme --vendor labelco
  strongroom audit blast acme --vendor labelco --max-objects 5000 --max-bytes 1GiB
  strongroom audit blast ./acme-ledger/ --worker SHA256:q0T… --output json")]
pub struct Blast {
    /// The tenant, or the folder of an export.
    #[arg(value_name = "TENANT|DIR")]
    source: Source,
    #[command(flatten)]
    asked: Asked,
    /// Fail if more objects than this could be taken.
    #[arg(long, value_name = "N")]
    max_objects: Option<u64>,
    /// Fail if more bytes than this could be taken.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Size>,
}

impl Blast {
    /// Does it.
    ///
    /// # Errors
    /// The caller is no admin of the tenant; there is no such vendor; no grant bounds them; they could take more than was allowed.
    pub fn run(self, globals: &Globals) -> Outcome {
        let now = when::now();
        let report = report(&self.source, globals, self.asked.question(globals, now)?, when::millis(now))?;
        let Some(blast) = &report.blast else {
            let advice = "ask about a vendor, a worker, a key or a grant";
            return Err(Failure::usage("an admin's key and a session are bound by no grant", advice));
        };
        let mut out = std::io::BufWriter::new(std::io::stdout());
        let written = match globals.output {
            Format::Json => write_json(&mut out, &Told::of(blast, &report.exposure)),
            Format::Table => {
                let rows: Vec<TheirReach> =
                    blast.grants.iter().map(|reach| TheirReach::of(reach, &report.exposure, blast.now)).collect();
                out.write_all(words(&report.question, blast, &report.exposure).as_bytes()).and_then(|()| {
                    match rows.is_empty() {
                        true => Ok(()),
                        false => writeln!(out).and_then(|()| write_table(&mut out, &rows)),
                    }
                })
            }
        };
        written.and_then(|()| out.flush()).map_err(|error| Failure::stdio(&error))?;
        self.check(&report.question, blast.total)
    }

    fn check(&self, question: &Question, most: Most) -> Outcome {
        let over = |what: String| {
            let detail = format!("{} could take {what}", who(question));
            let advice = "narrow, limit or revoke grants: strongroom grant list TENANT --live shows them";
            Err(Failure::new(Reason::PreconditionFailed, detail, advice))
        };
        if let Some(max) = self.max_objects.filter(|max| most.objects > *max) {
            return over(format!("{}, {max} are allowed", counted(most.objects, "object")));
        }
        if let Some(max) = self.max_bytes.filter(|max| most.bytes > max.0) {
            return over(format!("{}, {max} are allowed", Size(most.bytes)));
        }
        Ok(())
    }
}

/// The answer, as programs get it.
#[derive(Debug, Serialize)]
struct Told {
    total: Most,
    hour: Most,
    new: Most,
    had: Most,
    until: Option<String>,
    grants: Vec<TheirReach>,
    suspended: u64,
    frozen: u64,
    erased: u64,
}

/// A grant, as programs get it, and as a row.
#[derive(Debug, Serialize)]
struct TheirReach {
    grant: GrantId,
    vendor: Option<String>,
    key: Option<Fingerprint>,
    covers: Most,
    total: Most,
    hour: Most,
    bound: Bound,
    /// Null where it has begun.
    from: Option<String>,
    until: String,
    sources: Vec<String>,
    /// Whether it lets write, overwrite or delete.
    changes: bool,
}

impl Told {
    fn of(blast: &Found, exposure: &Exposure) -> Self {
        Self {
            total: blast.total,
            hour: blast.hour,
            new: blast.new,
            had: blast.had,
            until: blast.until.map(when::rfc3339),
            grants: blast.grants.iter().map(|reach| TheirReach::of(reach, exposure, blast.now)).collect(),
            suspended: blast.suspended,
            frozen: blast.frozen,
            erased: blast.erased,
        }
    }
}

impl TheirReach {
    fn of(reach: &Reach, exposure: &Exposure, now: strongroom_core::ids::Millis) -> Self {
        let (vendor, key) = match reach.holder {
            Holder::Vendor(id) => (Some(vendor(exposure, id)), None),
            Holder::Key(key) => (None, Some(key)),
        };
        Self {
            grant: reach.grant,
            vendor,
            key,
            covers: reach.covers,
            total: reach.total,
            hour: reach.hour,
            bound: reach.bound,
            from: (reach.from > now).then(|| when::rfc3339(reach.from)),
            until: when::rfc3339(reach.until),
            sources: reach.sources.clone(),
            changes: reach.changes,
        }
    }
}

impl Row for TheirReach {
    const HEADS: &'static [&'static str] =
        &["GRANT", "HOLDER", "COVERS", "AT MOST", "IN AN HOUR", "HELD BY", "UNTIL (UTC)"];

    fn cells(&self) -> Vec<String> {
        let holder = self.vendor.clone().or_else(|| self.key.as_ref().map(short_key)).unwrap_or_default();
        let bound = match self.bound {
            Bound::Scope => "its scope",
            Bound::Budget => "its budget",
            Bound::BudgetAbove => "a budget above it",
            Bound::Rate => "its rate",
        };
        let mut held = bound.to_owned();
        if !self.sources.is_empty() {
            held += &format!(", only from {}", shorten(&self.sources));
        }
        let until = match &self.from {
            Some(from) => format!("{} (from {})", when::seconds_of(&self.until), when::seconds_of(from)),
            None => when::seconds_of(&self.until),
        };
        vec![short_grant(&self.grant), holder, most(self.covers), most(self.total), most(self.hour), held, until]
    }
}

/// `812 objects, 3.1 MiB`.
pub(crate) fn most(most: Most) -> String {
    format!("{}, {}", counted(most.objects, "object"), Size(most.bytes))
}

fn words(question: &Question, blast: &Found, exposure: &Exposure) -> String {
    let tenant = exposure.tenant.as_ref().map_or("the tenant", |tenant| tenant.as_str());
    let (who, place) = (who(question), place(tenant, question));
    let mut lines = vec![format!("What {who} could take from {place} from now on, at most, of what is there:")];
    let mut line = |head: &str, words: String| lines.push(format!("{head:<10}{words}"));
    match blast.until {
        Some(until) => {
            let grants = counted(blast.grants.len() as u64, "grant");
            line("in all", format!("{}, until {}, under {grants}", most(blast.total), when::seconds(until)));
            line("an hour", format!("{}, within the next one", most(blast.hour)));
            line("new", format!("{} of that it was not released before", most(blast.new)));
        }
        None => line("in all", "nothing: no grant of theirs lets read now or later".to_owned()),
    }
    line("had", format!("{}, {}", most(blast.had), time(question)));
    if blast.grants.iter().any(|reach| reach.changes) {
        let changing = blast.grants.iter().filter(|reach| reach.changes).count() as u64;
        line("changes", format!("it may also write, overwrite or delete, under {}", counted(changing, "grant")));
    }
    if blast.suspended > 0 {
        line("suspended", format!("more under {} when the suspension is lifted", counted(blast.suspended, "grant")));
    }
    if blast.frozen > 0 {
        line("frozen", format!("{} more when they are unfrozen", counted(blast.frozen, "object")));
    }
    if blast.erased > 0 {
        line("erased", format!("{} grants or objects whose words were: within reach or not", blast.erased));
    }
    lines.join("\n") + "\n"
}
