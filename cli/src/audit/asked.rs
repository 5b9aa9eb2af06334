//! Who and what a question about a ledger is about: the flags, and the words for them.

use strongroom_core::audit::Question;
use strongroom_core::grant::Prefix;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::SessionId;
use strongroom_core::names::{DatasetName, VendorName};

use crate::args::Globals;
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::printable;
use crate::when::{self, Moment};

/// The flags; all that are given must hold. `--grant` stands with those of every verb.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Asked {
    /// Of this vendor: all keys it has or had, and all to whom it delegated.
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<VendorName>,
    /// Of this worker: its key, and all to whom it passed something on.
    #[arg(long, value_name = "SHA256:…")]
    worker: Option<Fingerprint>,
    /// Of this key alone.
    #[arg(long, value_name = "SHA256:…")]
    key: Option<Fingerprint>,
    /// In this session alone.
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Only objects of this dataset.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<DatasetName>,
    /// Only objects here: math/, 'math/0000*', math/000007.json.
    #[arg(long, value_name = "PREFIX", requires = "dataset")]
    prefix: Option<Prefix>,
    /// Only in sessions that claimed this SDK and version; 'strongroom-client/0.3*' is all that begin so.
    #[arg(long, value_name = "SDK")]
    sdk: Option<String>,
    /// Only in sessions that claimed this host.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only in sessions that claimed this job.
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only what was released or written from this time on: 2h (ago), 2026-03-01, 2026-03-01T14:05. All of time without it.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

impl Asked {
    /// The question, asked at `now`.
    pub(crate) fn question(&self, globals: &Globals, now: jiff::Timestamp) -> Question {
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.millis(now));
        Question {
            vendor: self.vendor.clone(),
            key: self.key,
            worker: self.worker,
            grant: globals.grant,
            session: self.session,
            dataset: self.dataset.clone(),
            prefix: self.prefix.clone(),
            sdk: self.sdk.clone(),
            host: self.host.clone(),
            job: self.job.clone(),
            since: moment(self.since),
            until: moment(self.until),
        }
    }
}

/// `labelco`, `worker SHA256:q0T… of labelco`, `anybody`.
pub(crate) fn who(question: &Question) -> String {
    let mut who = Vec::new();
    who.extend(question.vendor.as_ref().map(ToString::to_string));
    who.extend(question.worker.as_ref().map(|key| format!("worker {}", short_key(key))));
    who.extend(question.key.as_ref().map(short_key));
    who.extend(question.grant.as_ref().map(|grant| format!("grant {}", short_grant(grant))));
    who.extend(question.session.as_ref().map(|session| format!("session {:.8}…", session.to_string())));
    for (what, claim) in [("SDK", &question.sdk), ("host", &question.host), ("job", &question.job)] {
        who.extend(claim.as_ref().map(|claim| format!("what claimed {what} {}", printable(claim))));
    }
    if who.is_empty() { "anybody".to_owned() } else { who.join(" by ") }
}

/// `acme/rlhf/math/`.
pub(crate) fn place(tenant: &str, question: &Question) -> String {
    let mut place = tenant.to_owned();
    if let Some(dataset) = &question.dataset {
        place += &format!("/{dataset}");
    }
    if let Some(prefix) = &question.prefix {
        place += &printable(&format!("/{prefix}"));
    }
    place
}

/// `of all time (--since and --until narrow it)`.
pub(crate) fn time(question: &Question) -> String {
    match (question.since, question.until) {
        (None, None) => "of all time (--since and --until narrow it)".to_owned(),
        (Some(since), None) => format!("since {}", when::seconds(since)),
        (None, Some(until)) => format!("until {}", when::seconds(until)),
        (Some(since), Some(until)) => format!("from {} to {}", when::seconds(since), when::seconds(until)),
    }
}
