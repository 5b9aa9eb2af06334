//! A batch of one tenant as it is being decided: what it comes to, before any of it is written.
//!
//! Attempts are decided one after the other, each seeing what those before it did: charges, generations, what was taken away.
//! Orders that take something away come first, so that nothing that waits beside one slips out before it. A draft changes
//! nothing but itself; if its commit fails, it is dropped and made anew.

mod delete;
mod note;
mod order;
mod put;
mod refuse;
mod release;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use strongroom_core::grant::authority::takes_away;
use strongroom_core::grant::{
    Allowed, Authority, Grant, Held, Place, Refusal, Renewal, Request as Question, Standing, Tally, Usage, decide,
};
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{DatasetId, Digest, GrantId, Index, Millis, NodeId, OrderId, SessionId};
use strongroom_core::ledger::tree::leaf_hash;
use strongroom_core::ledger::{Actor, Entry, Event, Head, Outcome, Role, batch};
use strongroom_core::reason::Reason;

use super::RecordError;
use super::attempt::{AcceptedCall, Attempt, Hidden, PutOutcome};
use super::denials::Denials;
use super::gather::Known;
use super::ledger::{Calls, Entered, Marks, State};
use super::operators::Operators;
use super::private::{Content, Part};
use super::queue::Waiting;
use crate::catalog::objects::ObjectWrites;
use crate::catalog::requests::{RequestKey, RequestRow};
use crate::catalog::shreds::NewShred;
use crate::catalog::tenants::NewTenant;
use crate::catalog::{AuthorityRow, LogKeyRow, PathRow, PathWrites};
use crate::tenants::Tenant;
use refuse::Refused;

/// What became of an attempt.
pub(super) enum Verdict {
    /// Keys may be released.
    Released { index: Index, repeat: bool },
    /// What became of each object.
    Put { index: Index, outcomes: Vec<PutOutcome> },
    /// What became of each item.
    Deleted { index: Index, outcomes: Vec<Result<Hidden, Refusal>> },
    /// The order was accepted: now, or as an entry before.
    Ordered { index: Index, time: Millis, id: OrderId },
    /// It was refused; recorded as this entry, if it was.
    Refused { refusal: Refusal, index: Option<Index> },
    /// It could not be decided.
    Failed(RecordError),
}

/// A batch as it is to be written.
pub(super) struct Drafted {
    pub(super) now: Millis,
    pub(super) base: Head,
    pub(super) head: Head,
    pub(super) authority: Arc<Authority>,
    pub(super) denials: Denials,
    /// How far the operators' ledger had come whose blocks are noted.
    pub(super) noted: Index,
    /// One for each attempt, in their order.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) marks: Marks,
    pub(super) writes: Writes,
}

/// The rows of a batch.
pub(super) struct Writes {
    pub(super) public: Vec<u8>,
    pub(super) private: Vec<u8>,
    pub(super) tenant: Option<NewTenant>,
    pub(super) authority: Vec<AuthorityRow>,
    pub(super) orders: Vec<(OrderId, Index)>,
    pub(super) grants: Vec<Arc<Grant>>,
    pub(super) renewals: Vec<Renewal>,
    /// Grants as their renewals left them.
    pub(super) renewed: Vec<Arc<Grant>>,
    pub(super) usages: Vec<(GrantId, Tally)>,
    pub(super) requests: Vec<(RequestKey, RequestRow)>,
    pub(super) objects: ObjectWrites,
    pub(super) paths: PathWrites,
    /// Blobs, with how many objects became visible in each.
    pub(super) blobs: Vec<(String, u64)>,
    pub(super) deleted: Vec<DatasetId>,
    /// What becomes of versions of the tenant's key.
    pub(super) keys: Vec<KeyChange>,
    /// Whether an object is put whose key is under an older version.
    pub(super) reopens_rewrap: bool,
    /// When the tenant's key is due to be rotated next, if that changed; none if never.
    pub(super) due: Option<Option<Millis>>,
    /// The newest order after which other versions of the tenant's key, or others, are in escrow.
    pub(super) escrow_due: Option<Index>,
    /// What is to be shredded.
    pub(super) shreds: Vec<NewShred>,
}

/// What becomes of a version of the tenant's key.
pub(super) enum KeyChange {
    /// It is the active one from here on.
    Rotated { version: u32, wrapped: Vec<u8> },
    /// It is destroyed.
    Destroyed { version: u32 },
    /// A key signs checkpoints from here on.
    Log(LogKeyRow),
    /// All versions are destroyed: the tenant was shredded.
    AllDestroyed,
}

/// The batch while it is decided.
pub(super) struct Draft<'a> {
    tenant: &'a Tenant,
    node: NodeId,
    now: Millis,
    base: Head,
    head: Head,
    authority: Arc<Authority>,
    /// Of the operators' ledger: which keys are blocked.
    operators: Arc<Authority>,
    noted: Index,
    /// Whether the operators' ledger has grown since its blocks were last noted.
    has_news: bool,
    denials: Denials,
    calls: Option<&'a Calls>,
    known: Known<'a>,
    charged: BTreeSet<GrantId>,
    requested: BTreeSet<RequestKey>,
    opened: HashSet<SessionId>,
    blobs: BTreeMap<&'a str, u64>,
    marks: Marks,
    writes: Writes,
}

type Drafting<T> = Result<T, RecordError>;

impl<'a> Draft<'a> {
    pub(super) fn new(
        tenant: &'a Tenant,
        node: NodeId,
        now: Millis,
        state: Option<&'a State>,
        known: Known<'a>,
        operators: Operators,
    ) -> Self {
        let base = state.map(|state| state.head.clone()).unwrap_or_default();
        Self {
            tenant,
            node,
            now,
            head: base.clone(),
            base,
            authority: state.map(|state| state.authority.clone()).unwrap_or_default(),
            operators: operators.authority,
            noted: operators.size,
            has_news: state.is_some_and(|state| state.noted < operators.size),
            denials: state.map(|state| state.denials.clone()).unwrap_or_default(),
            calls: state.map(|state| &state.calls),
            known,
            charged: BTreeSet::new(),
            requested: BTreeSet::new(),
            opened: HashSet::new(),
            blobs: BTreeMap::new(),
            marks: Marks::default(),
            writes: Writes {
                public: Vec::new(),
                private: Vec::new(),
                tenant: None,
                authority: Vec::new(),
                orders: Vec::new(),
                grants: Vec::new(),
                renewals: Vec::new(),
                renewed: Vec::new(),
                usages: Vec::new(),
                requests: Vec::new(),
                objects: ObjectWrites::default(),
                paths: PathWrites::default(),
                blobs: Vec::new(),
                deleted: Vec::new(),
                keys: Vec::new(),
                reopens_rewrap: false,
                due: None,
                escrow_due: None,
                shreds: Vec::new(),
            },
        }
    }

    /// Decides all attempts.
    ///
    /// # Errors
    /// What keeps the whole batch from being recorded: nothing of it may be then.
    pub(super) fn decide_all(mut self, waiting: &'a [Waiting]) -> Drafting<Drafted> {
        self.note_news()?;
        for more in self.denials.sum_up(self.now, false) {
            self.sum_up(more)?;
        }
        self.pass_over_shredded();
        self.writes.public.reserve(waiting.iter().map(Waiting::public_size).sum());
        self.writes.private.reserve(waiting.iter().map(Waiting::private_size).sum());
        let first = |at: &usize| match &waiting[*at].attempt {
            Attempt::Order(order) => takes_away(&order.verified.order().instruction),
            _ => false,
        };
        let order: Vec<usize> =
            (0..waiting.len()).filter(first).chain((0..waiting.len()).filter(|at| !first(at))).collect();
        let mut verdicts: Vec<Option<Verdict>> = Vec::new();
        verdicts.resize_with(waiting.len(), || None);
        for at in order {
            verdicts[at] = Some(self.decide_one(&waiting[at])?);
        }
        let gone = || Verdict::Failed(RecordError::Unavailable("it was not decided".into()));
        let verdicts = verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(gone)).collect();
        Ok(self.finish(verdicts))
    }

    /// Sums up the denials that are left, notes which keys are blocked, and nothing else.
    pub(super) fn only_sums(mut self, all: bool) -> Drafting<Drafted> {
        self.note_news()?;
        for more in self.denials.sum_up(self.now, all) {
            self.sum_up(more)?;
        }
        Ok(self.finish(Vec::new()))
    }

    fn decide_one(&mut self, waiting: &'a Waiting) -> Drafting<Verdict> {
        if waiting.answer.is_closed() {
            // Nobody waits for it any more: it is not done behind the caller's back.
            return Ok(Verdict::Failed(RecordError::Closed));
        }
        let call = waiting.attempt.call();
        if let Some(call) = call
            && self.is_over(call, waiting.request)
        {
            let refusal = Refusal::new(Reason::SessionUnknown, "the call is over: open another session and ask again");
            return Ok(Verdict::Refused { refusal, index: None });
        }
        if let Some(call) = call
            && let Err(error) = self.chain(call.grant())
        {
            // A grant's row that was changed stops those who name it, and nobody else.
            return Ok(Verdict::Failed(error));
        }
        let missing = || RecordError::Unavailable("the attempt was not prepared".into());
        match &waiting.attempt {
            Attempt::Denied(denied) => self.deny(Refused {
                key: denied.caller.key,
                source: denied.caller.source,
                call: denied.call.as_ref(),
                grant: denied.call.as_ref().and_then(|call| call.grant()),
                order: None,
                refusal: denied.refusal.clone(),
            }),
            attempt => {
                let part = waiting.part.as_ref().ok_or_else(missing)?;
                match attempt {
                    Attempt::Release(release) => self.release(release, waiting.request.ok_or_else(missing)?, part),
                    Attempt::Put(put) => self.put(put, waiting.request.ok_or_else(missing)?, part),
                    Attempt::Delete(delete) => self.delete(delete, waiting.request.ok_or_else(missing)?, part),
                    Attempt::Order(order) => self.order(order, None, part),
                    Attempt::RotateDue(due) => self.rotate_due(due, part),
                    Attempt::CreateTenant(order, new) => self.order(order, Some(new), part),
                    Attempt::Denied(_) => Err(missing()),
                }
            }
        }
    }

    /// At paths whose object was shredded, nothing is visible, whether the rows say so already or not.
    fn pass_over_shredded(&mut self) {
        if !self.authority.has_shreds() {
            return;
        }
        for slot in &mut self.known.slots.all {
            let Some((generation, index, ordinal)) = slot.is.visible else { continue };
            if self.authority.shredded(&slot.dataset, slot.path, index).is_some() {
                let through = slot.is.through.max(generation);
                slot.is = PathRow { visible: None, through, shredded: through };
                self.writes.paths.shred(index, ordinal);
            }
        }
    }

    fn is_over(&self, call: &AcceptedCall, request: Option<RequestKey>) -> bool {
        let known = request.is_some_and(|key| self.known.requests.contains_key(&key));
        self.calls.is_some_and(|calls| calls.entered(call, self.now, known) == Entered::Over)
    }

    /// Asks [`decide()`], with the chain of the grant that is named as it stands now.
    fn question(
        &self,
        call: &AcceptedCall,
        places: &[Place<'_>],
        charge: Usage,
        obstacle: Option<&Refusal>,
    ) -> Drafting<Result<Allowed, Refusal>> {
        let chain = self.chain(call.grant())?;
        let source = call.caller.source.into();
        let incident = call.signed.call.incident;
        let request =
            Question { key: call.caller.key, grant: call.grant(), incident, places, charge, source, obstacle };
        let blocked = self.operators.blocked();
        let standing = Standing { now: self.now, authority: &self.authority, chain: &chain, blocked };
        Ok(decide(&request, &standing))
    }

    /// A grant, its parent, and so on up, each with what was charged to it so far.
    fn chain(&self, grant: Option<GrantId>) -> Drafting<Vec<Held<'_>>> {
        let mut chain = Vec::new();
        let mut next = grant;
        while let Some(known) = next.and_then(|id| self.known.grants.get(&id)) {
            let grant = known.as_ref().map_err(|why| RecordError::Integrity(why.clone()))?;
            let tally = self.known.usages.get(&grant.id).copied().unwrap_or_default();
            chain.push(Held { grant, tally });
            // A parent is issued before its child, so this ends.
            next = grant.terms.parent;
        }
        match (chain.last(), next) {
            (Some(last), Some(parent)) => {
                let words = format!("the row of grant {parent} is missing, from which {} was delegated", last.grant.id);
                Err(RecordError::Integrity(words))
            }
            _ => Ok(chain),
        }
    }

    fn charge(&mut self, chain: &[GrantId], charge: Usage) {
        if charge == Usage::default() {
            return;
        }
        for id in chain {
            let tally = self.known.usages.entry(*id).or_default();
            *tally = tally.charged(charge, self.now);
            self.charged.insert(*id);
        }
    }

    fn actor(&self, key: Fingerprint) -> Actor {
        Actor { role: Role::from(self.authority.principal(&key)), key }
    }

    /// An entry that is empty but for what happened and who did it.
    fn entry(&self, event: Event, actor: Actor) -> Entry {
        Entry {
            index: Index(0),
            time: self.now,
            event,
            actor,
            session: None,
            call: None,
            order: None,
            grants: Vec::new(),
            outcome: Outcome::Done,
            reason: None,
            count: 1,
            puts: Vec::new(),
            objects: Vec::new(),
            request: None,
            node: self.node,
            private: Digest::from_bytes([0; 32]),
            log_key: None,
        }
    }

    /// An entry of a call.
    fn call_entry(&self, event: Event, call: &AcceptedCall, grants: Vec<GrantId>) -> Entry {
        Entry {
            session: Some(call.session.id),
            call: Some(call.digest),
            grants,
            request: Some(call.request()),
            ..self.entry(event, self.actor(call.caller.key))
        }
    }

    /// Appends an entry; returns its index.
    fn append(&mut self, mut entry: Entry, part: &Part) -> Drafting<Index> {
        entry.index = self.head.size();
        entry.private = part.hash;
        let bytes = entry.bytes().map_err(|error| RecordError::Integrity(error.to_string()))?;
        self.head.range.append(leaf_hash(&bytes));
        self.head.time = self.now;
        if strongroom_core::grant::authority::is_authority_event(entry.event) {
            self.head.authority_tip = strongroom_core::ledger::head::chain(&self.head.authority_tip, &bytes);
        }
        self.head.hides += u64::from(matches!(entry.event, Event::ObjectDeleted | Event::DatasetDeleted));
        batch::push(&mut self.writes.public, &bytes);
        batch::push(&mut self.writes.private, &part.bytes);
        Ok(entry.index)
    }

    fn part(&self, content: Content<'_>) -> Drafting<Part> {
        content.write().map_err(|error| RecordError::Unavailable(error.to_string()))
    }

    /// The private part of an entry of a call that another one has the words of.
    fn later_part(&self, call: &AcceptedCall) -> Drafting<Part> {
        self.part(Content::of_call(call, &call.caller.source.to_string()))
    }

    /// The call's session has its entry before the call has one; the call is entered.
    fn enter(&mut self, call: &Arc<AcceptedCall>, refused_at: Option<Millis>) -> Drafting<()> {
        let session = &call.session;
        let recorded = session.recorded.load(std::sync::atomic::Ordering::Acquire);
        if !recorded && self.opened.insert(session.id) {
            let source = call.caller.source.to_string();
            let content = Content {
                source: Some(&source),
                claims: Some(&session.claims),
                opening: Some(&session.opening),
                ..Content::default()
            };
            let part = self.part(content)?;
            let entry = Entry { session: Some(session.id), ..self.entry(Event::SessionOpen, self.actor(session.key)) };
            self.append(entry, &part)?;
            self.marks.sessions.push(session.clone());
        }
        self.marks.calls.push((call.clone(), refused_at));
        Ok(())
    }

    fn finish(mut self, verdicts: Vec<Verdict>) -> Drafted {
        self.head.epoch = self.authority.epoch();
        let writes = &mut self.writes;
        for slot in &self.known.slots.all {
            if slot.is.through != slot.was.through {
                writes.paths.hide(&slot.dataset, slot.path, slot.is.through, slot.is.shredded);
            }
            if let Some(visible) = slot.is.visible.filter(|visible| Some(*visible) != slot.was.visible) {
                writes.paths.show(&slot.dataset, slot.path, visible);
            }
        }
        writes.usages =
            self.charged.iter().map(|id| (*id, self.known.usages.get(id).copied().unwrap_or_default())).collect();
        let known = &self.known.requests;
        writes.requests = self.requested.iter().filter_map(|key| Some((*key, known.get(key)?.to_row()))).collect();
        writes.blobs = self.blobs.iter().map(|(blob, objects)| ((*blob).to_owned(), *objects)).collect();
        Drafted {
            now: self.now,
            base: self.base,
            head: self.head,
            authority: self.authority,
            denials: self.denials,
            noted: self.noted,
            verdicts,
            marks: self.marks,
            writes: self.writes,
        }
    }
}
