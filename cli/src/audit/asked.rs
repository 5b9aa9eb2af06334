//! Who and what a question about a ledger is about: the flags, and the words for them.

use strongroom_core::audit::Question;
use strongroom_core::grant::Prefix;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Millis, SessionId};
use strongroom_core::names::{DatasetName, VendorName};

use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::grant::short_grant;
use crate::name::short_key;
use crate::output::printable;
use crate::when::{self, Moment};

/// How far this machine's clock may be behind that of whoever names a time, in milliseconds.
const AHEAD: u64 = 60_000;

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
    ///
    /// # Errors
    /// Nothing can lie in the time that is asked about.
    pub(crate) fn question(&self, globals: &Globals, now: jiff::Timestamp) -> Outcome<Question> {
        let since = since(self.since, now)?;
        let until = self.until.map(|until| until.millis(now));
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            let detail = format!("nothing lies from {} on and before {}", when::seconds(since), when::seconds(until));
            return Err(Failure::usage(detail, "let --until be later than --since"));
        }
        Ok(Question {
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
            since,
            until,
        })
    }
}

/// From when on something is asked about. A moment that lies ahead has nothing after it, and so the answer would be that nothing was
/// exposed: it is a slip, or another zone's time.
///
/// # Errors
/// It lies ahead.
pub(crate) fn since(since: Option<Moment>, now: jiff::Timestamp) -> Outcome<Option<Millis>> {
    let Some(since) = since.map(|since| since.millis(now)) else { return Ok(None) };
    let now = when::millis(now);
    if since.0 <= now.0.saturating_add(AHEAD) {
        return Ok(Some(since));
    }
    let detail = format!("--since lies ahead: {} UTC, and it is {} UTC", when::seconds(since), when::seconds(now));
    let advice = "a time without a zone is UTC: write 2026-03-24T10:39+02:00, or 2h for two hours ago";
    Err(Failure::usage(detail, advice))
}

/// `labelco`, `worker SHA256:q0T… of labelco under grant gr_0af1…`, `sessions that claimed host ci-7`, `anybody`.
pub(crate) fn who(question: &Question) -> String {
    let mut who = Vec::new();
    who.extend(question.key.as_ref().map(short_key));
    who.extend(question.worker.as_ref().map(|key| format!("worker {}", short_key(key))));
    who.extend(question.vendor.as_ref().map(ToString::to_string));
    let mut how = Vec::new();
    how.extend(question.grant.as_ref().map(|grant| ("under ", format!("grant {}", short_grant(grant)))));
    how.extend(question.session.as_ref().map(|session| ("in ", format!("session {:.8}…", session.to_string()))));
    let claims = [("SDK", &question.sdk), ("host", &question.host), ("job", &question.job)];
    let claims = claims.into_iter().filter_map(|(what, claim)| Some(format!("{what} {}", printable(claim.as_ref()?))));
    let claims: Vec<String> = claims.collect();
    how.extend((!claims.is_empty()).then(|| ("in ", format!("sessions that claimed {}", claims.join(" and ")))));
    let mut how = how.into_iter();
    let mut words = match who.is_empty() {
        true => how.next().map_or_else(|| "anybody".to_owned(), |(_, what)| what),
        false => who.join(" of "),
    };
    how.for_each(|(link, what)| words.push_str(&format!(" {link}{what}")));
    words
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_about_is_said() {
        let key = Fingerprint::from_bytes([7; 32]);
        let short = short_key(&key);
        assert_eq!(who(&Question::default()), "anybody");
        let host = Question { host: Some("ci-7".into()), ..Question::default() };
        assert_eq!(who(&host), "sessions that claimed host ci-7");
        let vendor = Question { vendor: Some("labelco".parse().unwrap()), sdk: Some("x/1".into()), ..host };
        assert_eq!(who(&vendor), "labelco in sessions that claimed SDK x/1 and host ci-7");
        let worker = Question { vendor: vendor.vendor, worker: Some(key), ..Question::default() };
        assert_eq!(who(&worker), format!("worker {short} of labelco"));
        let grant = Question { grant: Some(strongroom_core::ids::GrantId::from_bytes([1; 16])), ..Question::default() };
        assert!(who(&grant).starts_with("grant gr_0101"), "{}", who(&grant));
        assert!(who(&Question { key: Some(key), ..grant }).starts_with(&format!("{short} under grant gr_")));
    }

    #[test]
    fn what_lies_ahead_is_no_beginning() {
        let now: jiff::Timestamp = "2026-03-24T10:39:00Z".parse().unwrap();
        let asked = |text: &str| since(Some(text.parse().unwrap()), now);
        assert_eq!(since(None, now), Ok(None));
        assert_eq!(asked("2h"), Ok(Some(Millis(when::millis(now).0 - 2 * 3_600_000))));
        for fine in ["2026-03-24T10:39Z", "2026-03-24T10:39:30Z", "2026-03-24T12:39+02:00", "1970-01-01"] {
            assert!(asked(fine).is_ok(), "{fine}");
        }
        for ahead in ["2026-03-24T12:39", "2026-03-25", "2027-03-24"] {
            let failure = asked(ahead).unwrap_err();
            assert_eq!((failure.code.as_ref(), failure.exit as u8), ("USAGE", 2), "{ahead}");
        }
    }
}
