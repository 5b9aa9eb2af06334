//! The rules that a ledger must keep, and what it means to find one broken.

use std::fmt;

use crate::ids::Index;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// A rule of the ledger. Its text says what must hold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $words] $(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $words,)* })
            }
        }
    };
}

rules! {
    Exact = "an entry is the exact JSON of its fields",
    Length = "an entry has at most 60 KiB",
    EventKnown = "an entry's event is one that this version knows",
    IndexGapless = "indices have no gaps",
    TimeForward = "times never go back",
    PrivateHash = "the private part is the one whose hash the entry holds",
    PrivateExact = "the private part is the exact JSON of its fields, with a salt of 16 bytes",
    Form = "an entry has the fields of its event and no others",
    PrivateForm = "a private part has the fields of its event and no others",
    FirstEntry = "entry 0, and no other, creates the tenant",
    Actor = "the actor is the key that signed, in the role it had",
    Chain = "the grants charged are the named one and those above it",
    RequestId = "the request id is the one that was signed",
    OrderMissing = "an order's entry holds the signed order",
    OrderForm = "an order keeps its bounds",
    OrderSignature = "an order's signatures hold",
    OrderId = "an order's id is the hash of its signed bytes",
    OrderEvent = "the event is what the order says to do",
    OrderOnce = "an order is accepted once, ever",
    OrderLedger = "an order is for this ledger",
    OrderInTime = "an order is accepted before its time is over",
    OrderAllowed = "whoever signed an order may order it, and it makes sense",
    LogKey = "a key that signs checkpoints is signed by the one before it",
    RotationDue = "a rotation that no order carries out is due, by the order that it names",
    OpeningMissing = "a session's entry holds the signed opening",
    OpeningSignature = "an opening's signature holds",
    OpeningOnce = "a session is opened once, ever",
    SessionIdFits = "a session's id is the hash of its opening",
    OpeningTenant = "an opening names this tenant",
    SessionOpen = "a call comes in a session that was opened",
    CallMissing = "the first entry of a call holds the signed call",
    CallSignature = "a call is signed by its session's call key",
    CallDigest = "a call's digest is that of its session, this ledger and its bytes",
    CallForm = "a call keeps its bounds",
    CallSession = "a call's entries are all of its session",
    CallOver = "a call that had no entry for 15 minutes is over",
    CallIncident = "an entry belongs to the incident that its call names",
    CallEvent = "the event is what the call asks for",
    RequestOnce = "a request id stands for one request for 15 minutes",
    ItemKnown = "an object is recorded for an item of the call",
    ObjectKnown = "an object was put by an earlier entry",
    ObjectAsked = "an object is the one that the call names",
    Segments = "segments are a range of the object's, within one window",
    SegmentsAsked = "segments hold bytes that the call asks for",
    Bytes = "the bytes are the plaintext bytes of the segments",
    WindowOnce = "a window is released once to a call, and one window of an item in one entry",
    RepeatOfRelease = "a repeat releases what the same request was released before",
    Visible = "an object is not hidden",
    Shredded = "an object is not shredded",
    Allowed = "the decision, made again, is yes",
    PutFact = "size and content root are those of the signed call",
    PutOnce = "a put id is used once, ever",
    ObjectIdOnce = "an object id is used once, ever",
    DatasetThere = "an object is put into a dataset that is there",
    Condition = "a write's condition holds",
    Rekey = "an object with a new key has the size that it had",
    NextGeneration = "a path's generations have no gaps",
    DeleteVisible = "a delete hides the visible generation, and all of it",
    DeleteOnce = "a delete hides each of its items once",
    DenialReason = "a denial, and nothing else, has a reason",
}

/// A rule that an entry breaks. Nothing from that entry on is proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} breaks the rule that {rule}: {detail}")]
pub struct Finding {
    /// The entry, by its place.
    pub index: Index,
    /// The rule.
    pub rule: Rule,
    /// What is wrong, in words.
    pub detail: String,
}

/// A broken rule, before it is known where.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) rule: Rule,
    pub(super) detail: String,
}

pub(super) type Check<T = ()> = Result<T, Broken>;

impl Rule {
    pub(super) fn broken(self, detail: impl Into<String>) -> Broken {
        Broken { rule: self, detail: detail.into() }
    }

    /// The rule is broken unless it `holds`.
    pub(super) fn unless(self, holds: bool, detail: impl FnOnce() -> String) -> Check {
        if holds { Ok(()) } else { Err(self.broken(detail())) }
    }
}
