//! Makes ledgers entry by entry, as told: it signs, links and hashes, and judges nothing.

use std::collections::HashMap;

use strongroom_core::call::{Call, Condition, DeleteItem, GetItem, PutItem, SignedCall, Work};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::{Action, Holder, Limits, Part, Scope, Terms};
use strongroom_core::identity::{Fingerprint, Identity, Purpose, Signature};
use strongroom_core::ids::{
    CallDigest, Digest, Generation, GrantId, IncidentId, Index, Millis, NodeId, ObjectId, PutId, RequestId, SessionId,
    TenantId, VaultId, VendorId,
};
use strongroom_core::keys::secret::Key;
use strongroom_core::ledger::replay::{Finding, Replay, Summary, replay_all};
use strongroom_core::ledger::{Actor, Entry, Event, ObjectRef, Outcome, Private, PutFact, Role};
use strongroom_core::order::{Instruction, Order, SignedOrder};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::session::{Claims, Opening, SignedOpening};

/// When every ledger here begins.
pub(crate) const START: u64 = 1_700_000_000_000;
pub(crate) const MINUTE: u64 = 60_000;

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) entry: Entry,
    pub(crate) private: Private,
}

pub(crate) struct Ledger {
    pub(crate) origin: Origin,
    pub(crate) records: Vec<Record>,
    pub(crate) now: u64,
    pub(crate) operator: Identity,
    pub(crate) admin: Identity,
    pub(crate) roles: HashMap<Fingerprint, Role>,
    drawn: u64,
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) who: Fingerprint,
    pub(crate) key: SigningKey,
}

#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) session: SessionId,
    pub(crate) who: Fingerprint,
    pub(crate) digest: CallDigest,
    pub(crate) signed: SignedCall,
    pub(crate) entered: bool,
}

/// An object that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) index: Index,
    pub(crate) ordinal: u32,
    pub(crate) size: u64,
    pub(crate) generation: Generation,
    pub(crate) id: ObjectId,
}

impl Put {
    /// Segments `start..end` of it, for an item of a call.
    pub(crate) fn part(self, item: u32, start: u32, end: u32) -> ObjectRef {
        let range = strongroom_core::ids::SegmentRange::new(start, end).unwrap();
        let bytes = Layout::new(self.size).unwrap().plain_bytes(range);
        ObjectRef(item, self.index, self.ordinal, start, end, bytes)
    }

    /// All of it.
    pub(crate) fn whole(self, item: u32) -> ObjectRef {
        self.part(item, 0, Layout::new(self.size).unwrap().segments())
    }
}

impl Ledger {
    /// A ledger of one entry: the tenant `acme` with one admin.
    pub(crate) fn new() -> Self {
        let origin = Origin::new("test.vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap();
        let (operator, admin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let roles = HashMap::from([(operator.fingerprint(), Role::Operator), (admin.fingerprint(), Role::Admin)]);
        let mut ledger = Self { origin, records: Vec::new(), now: START, operator, admin, roles, drawn: 0 };
        let admins = vec![ledger.admin.fingerprint()];
        let create = Instruction::CreateTenant { name: "acme".parse().unwrap(), admins };
        let signed = ledger.sign_by_operator(create);
        ledger.order_entry(signed);
        ledger
    }

    /// A number that was not drawn before, as 16 bytes.
    pub(crate) fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let mut bytes = [0xd0; 16];
        bytes[8..].copy_from_slice(&self.drawn.to_be_bytes());
        bytes
    }

    pub(crate) fn wait(&mut self, millis: u64) -> &mut Self {
        self.now += millis;
        self
    }

    pub(crate) fn next_index(&self) -> Index {
        Index(self.records.len() as u64)
    }

    fn content(&mut self, instruction: Instruction) -> Order {
        Order {
            ledger: self.origin.clone(),
            request: RequestId::from_bytes(self.draw()),
            not_after: Millis(self.now + 5 * MINUTE),
            instruction,
            incident: None,
        }
    }

    fn sign_by_operator(&mut self, instruction: Instruction) -> SignedOrder {
        self.content(instruction).sign(&self.operator).unwrap()
    }

    pub(crate) fn sign_by_admin(&mut self, instruction: Instruction) -> SignedOrder {
        self.content(instruction).sign(&self.admin).unwrap()
    }

    /// An order by this identity that belongs to an incident.
    pub(crate) fn sign_in(&mut self, who: &Identity, instruction: Instruction, incident: IncidentId) -> SignedOrder {
        let content = Order { incident: Some(incident), ..self.content(instruction) };
        content.sign(who).unwrap()
    }

    pub(crate) fn sign_by(&mut self, who: &Identity, instruction: Instruction) -> SignedOrder {
        self.content(instruction).sign(who).unwrap()
    }

    /// What an operator orders in the operators' own ledger.
    pub(crate) fn sign_elsewhere(&mut self, instruction: Instruction) -> SignedOrder {
        let order = Order { ledger: self.origin.operators(), ..self.content(instruction) };
        order.sign(&self.operator).unwrap()
    }

    /// Notes it here.
    pub(crate) fn note(&mut self, instruction: Instruction) -> SignedOrder {
        let signed = self.sign_elsewhere(instruction);
        self.order_entry(signed.clone());
        signed
    }

    /// Enters an order as carried out.
    pub(crate) fn order_entry(&mut self, signed: SignedOrder) -> strongroom_core::ids::OrderId {
        let verified = signed.clone().verify().unwrap();
        let id = verified.id();
        let grants = match &signed.order.instruction {
            Instruction::IssueGrant(_) => vec![GrantId::from(id)],
            Instruction::RevokeGrant { grant, .. } | Instruction::RenewGrant { grant, .. } => vec![*grant],
            _ => Vec::new(),
        };
        let entry = Entry {
            order: Some(id),
            grants,
            request: Some(signed.order.request),
            ..self.blank(Event::of_instruction(&signed.order.instruction), verified.issuer())
        };
        self.learn(&signed.order.instruction, id);
        self.push(entry, Private { order: Some(signed), ..Private::default() });
        id
    }

    fn learn(&mut self, instruction: &Instruction, id: strongroom_core::ids::OrderId) {
        match instruction {
            Instruction::AddAdmin { key } => drop(self.roles.insert(*key, Role::Admin)),
            Instruction::RemoveAdmin { key } | Instruction::RevokeKey { key, .. } => {
                self.roles.insert(*key, Role::Key);
            }
            Instruction::AddVendor { keys, .. } => {
                self.roles.extend(keys.iter().map(|key| (*key, Role::Vendor(VendorId::from(id)))));
            }
            Instruction::AddKey { vendor, key } => drop(self.roles.insert(*key, Role::Vendor(*vendor))),
            Instruction::RemoveVendor { vendor } => {
                self.roles
                    .values_mut()
                    .filter(|role| **role == Role::Vendor(*vendor))
                    .for_each(|role| *role = Role::Key);
            }
            _ => {}
        }
    }

    /// A rotation that the vault made by itself, by an order.
    pub(crate) fn rotation_due(&mut self, order: strongroom_core::ids::OrderId) {
        let entry = Entry { order: Some(order), ..self.blank(Event::KeyRotatedDue, self.admin.fingerprint()) };
        self.push(entry, Private::default());
    }

    pub(crate) fn order(&mut self, instruction: Instruction) -> strongroom_core::ids::OrderId {
        let signed = self.sign_by_admin(instruction);
        self.order_entry(signed)
    }

    pub(crate) fn dataset(&mut self, name: &str) {
        self.order(Instruction::CreateDataset { name: name.parse().unwrap() });
    }

    pub(crate) fn vendor(&mut self, name: &str, keys: &[&Identity]) -> VendorId {
        let mut keys: Vec<_> = keys.iter().map(|key| key.fingerprint()).collect();
        keys.sort();
        self.order(Instruction::AddVendor { name: name.parse().unwrap(), keys }).into()
    }

    /// Terms for an hour.
    pub(crate) fn terms(&self, holder: Holder, scopes: &[(&[Action], &str, &str)], limits: Limits) -> Terms {
        let scope = |(actions, dataset, prefix): &(&[Action], &str, &str)| Scope {
            actions: actions.to_vec(),
            dataset: dataset.parse().unwrap(),
            part: Part::Prefix(prefix.parse().unwrap()),
        };
        Terms {
            holder,
            parent: None,
            scopes: scopes.iter().map(scope).collect(),
            not_before: None,
            expires: Millis(self.now + 60 * MINUTE),
            delegable: false,
            limits,
            purpose: None,
        }
    }

    pub(crate) fn grant(&mut self, terms: Terms) -> GrantId {
        self.order(Instruction::IssueGrant(terms)).into()
    }

    pub(crate) fn opening(&mut self, who: &Identity, tenant: &str) -> (SigningKey, SignedOpening) {
        let mut seed = [0x5e; 32];
        seed[..16].copy_from_slice(&self.draw());
        let key = SigningKey::from_seed(Key::try_from_slice(&seed).unwrap()).unwrap();
        let opening = Opening {
            recipient: "age1example".into(),
            call_key: key.public_key(),
            tenant: tenant.parse().unwrap(),
            vault_key: Fingerprint::from_bytes([7; 32]),
            exporter: Digest::from_bytes([8; 32]),
        };
        let signature = Signature(who.sign(Purpose::Opening, &opening.bytes().unwrap()).unwrap());
        (key, SignedOpening { opening, key: who.public_key(), signature })
    }

    pub(crate) fn open_entry(&mut self, opening: SignedOpening) -> SessionId {
        let id = Opening::session_id(&opening.opening.bytes().unwrap());
        let entry = Entry { session: Some(id), ..self.blank(Event::SessionOpen, opening.key.fingerprint()) };
        let claims = Some(Claims { sdk: "test 1".into(), host: "host".into(), job: String::new() });
        self.push(entry, Private { opening: Some(opening), claims, ..Private::default() });
        id
    }

    pub(crate) fn open(&mut self, who: &Identity) -> Session {
        let (key, opening) = self.opening(who, "acme");
        Session { id: self.open_entry(opening), who: who.fingerprint(), key }
    }

    pub(crate) fn open_admin(&mut self) -> Session {
        let admin = Identity::from_pem(&self.admin.to_pem()).unwrap();
        self.open(&admin)
    }

    pub(crate) fn ask(&mut self, session: &Session, grant: Option<GrantId>, work: Work) -> Ask {
        let request = RequestId::from_bytes(self.draw());
        self.ask_as(session, Call { request, grant, work, incident: None })
    }

    pub(crate) fn ask_as(&self, session: &Session, call: Call) -> Ask {
        let digest = Call::digest(&session.id, &self.origin, &call.bytes().unwrap());
        let signed = SignedCall { call, signature: Call::sign(&digest, &session.key) };
        Ask { session: session.id, who: session.who, digest, signed, entered: false }
    }

    /// An entry of a call.
    pub(crate) fn call_entry(
        &mut self,
        ask: &mut Ask,
        event: Event,
        puts: Vec<PutFact>,
        objects: Vec<ObjectRef>,
    ) -> Index {
        let entry = Entry {
            session: Some(ask.session),
            call: Some(ask.digest),
            grants: ask.signed.call.grant.into_iter().collect(),
            puts,
            objects,
            request: Some(ask.signed.call.request),
            ..self.blank(event, ask.who)
        };
        let call = (!std::mem::replace(&mut ask.entered, true)).then(|| ask.signed.clone());
        let incident = ask.signed.call.incident;
        self.push(entry, Private { call, incident, ..Private::default() })
    }

    pub(crate) fn release(&mut self, ask: &mut Ask, objects: Vec<ObjectRef>) -> Index {
        self.call_entry(ask, Event::Release, Vec::new(), objects)
    }

    pub(crate) fn repeat(&mut self, ask: &mut Ask, objects: Vec<ObjectRef>) -> Index {
        self.call_entry(ask, Event::ReleaseRepeat, Vec::new(), objects)
    }

    pub(crate) fn delete(&mut self, ask: &mut Ask, objects: Vec<ObjectRef>) -> Index {
        self.call_entry(ask, Event::ObjectDeleted, Vec::new(), objects)
    }

    /// Enters these items of a put call, with these generations.
    pub(crate) fn put_items(&mut self, ask: &mut Ask, items: &[(u32, u64)]) -> Vec<Put> {
        let Work::Put(asked) = ask.signed.call.work.clone() else { panic!("a put") };
        let fact = |&(item, generation): &(u32, u64)| {
            let asked = &asked[item as usize];
            PutFact(item, Generation(generation), asked.size, asked.content_root)
        };
        let facts: Vec<_> = items.iter().map(fact).collect();
        let event = if ask.signed.call.rekeys() { Event::ObjectRekeyed } else { Event::ObjectPut };
        let index = self.call_entry(ask, event, facts.clone(), Vec::new());
        let put = |(ordinal, PutFact(item, generation, size, _)): (u32, PutFact)| {
            let id = asked[item as usize].header.object_id();
            Put { index, ordinal, size, generation, id }
        };
        (0..).zip(facts).map(put).collect()
    }

    pub(crate) fn put_item(&mut self, dataset: &str, path: &str, condition: Condition, size: u64) -> PutItem {
        PutItem {
            put: PutId::from_bytes(self.draw()),
            dataset: dataset.parse().unwrap(),
            path: path.parse().unwrap(),
            condition,
            header: Header::new(ObjectId::from_bytes(self.draw())),
            size,
            content_root: Digest::from_bytes([0xc0; 32]),
        }
    }

    /// Puts one object in a call of its own.
    pub(crate) fn put(
        &mut self,
        session: &Session,
        grant: Option<GrantId>,
        path: &str,
        generation: u64,
        size: u64,
    ) -> Put {
        let item = self.put_item("rlhf", path, Condition::Any, size);
        let mut ask = self.ask(session, grant, Work::Put(vec![item]));
        self.put_items(&mut ask, &[(0, generation)])[0]
    }

    /// Asks for all of these paths.
    pub(crate) fn ask_get(&mut self, session: &Session, grant: Option<GrantId>, paths: &[&str]) -> Ask {
        let items = paths.iter().map(|path| get("rlhf", path)).collect();
        self.ask(session, grant, Work::Get(items))
    }

    pub(crate) fn denied(&mut self, ask: &mut Ask, reason: Reason) -> Index {
        let index = self.call_entry(ask, Event::Denied, Vec::new(), Vec::new());
        let record = self.records.last_mut().unwrap();
        record.entry.grants.clear();
        record.entry.outcome = Outcome::Denied;
        record.entry.reason = Some(reason);
        record.private.detail = Some("words".into());
        record.entry.private = Private::hash(&record.private.bytes().unwrap());
        index
    }

    /// An entry of nothing yet.
    pub(crate) fn blank(&self, event: Event, who: Fingerprint) -> Entry {
        Entry {
            index: self.next_index(),
            time: Millis(self.now),
            event,
            actor: Actor { role: self.roles.get(&who).copied().unwrap_or(Role::Key), key: who },
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
            node: NodeId::from_bytes([9; 16]),
            private: Digest::from_bytes([0; 32]),
            log_key: None,
        }
    }

    pub(crate) fn push(&mut self, mut entry: Entry, mut private: Private) -> Index {
        private.salt = data_encoding::HEXLOWER.encode(&self.draw());
        private.source = Some("192.0.2.7:50123".into());
        entry.private = Private::hash(&private.bytes().unwrap());
        let index = entry.index;
        self.records.push(Record { entry, private });
        self.now += 1;
        index
    }

    /// Public and private bytes of all entries, hashed anew: what an operator without anybody's keys can always do.
    pub(crate) fn bytes(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        sealed(&self.records)
    }

    pub(crate) fn replay(&self) -> Result<Summary, Finding> {
        replay(&self.origin, &self.bytes())
    }

    /// The replay of a valid ledger.
    pub(crate) fn accepted(&self) -> Replay {
        let mut replay = Replay::new(self.origin.clone());
        for (public, private) in self.bytes() {
            replay.feed(&public, Some(&private)).unwrap_or_else(|finding| panic!("{finding}"));
        }
        replay
    }
}

pub(crate) fn sealed(records: &[Record]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = |record: &Record| {
        let private = record.private.bytes().unwrap();
        let entry = Entry { private: Private::hash(&private), ..record.entry.clone() };
        (entry.bytes().unwrap(), private)
    };
    records.iter().map(bytes).collect()
}

pub(crate) fn replay(origin: &Origin, bytes: &[(Vec<u8>, Vec<u8>)]) -> Result<Summary, Finding> {
    let plain = replay_all(origin.clone(), bytes.iter().map(|(public, private)| (&public[..], Some(&private[..]))));
    assert_eq!(foreseeing(origin, bytes), plain, "with signatures checked ahead");
    plain
}

/// The same, with signatures of calls checked ahead on all cores.
fn foreseeing(origin: &Origin, bytes: &[(Vec<u8>, Vec<u8>)]) -> Result<Summary, Finding> {
    const AHEAD: usize = 24;
    let parts: Vec<(&[u8], &[u8])> = bytes.iter().map(|(public, private)| (&public[..], &private[..])).collect();
    let mut replay = Replay::new(origin.clone());
    for (at, (public, private)) in parts.iter().enumerate() {
        if at % AHEAD == 0 {
            // Some that went before, too: so that there are enough of them for more than one thread.
            replay.foresee(&parts[at.saturating_sub(2 * AHEAD)..parts.len().min(at + AHEAD)]);
        }
        replay.feed(public, Some(private))?;
    }
    replay.finish()
}

pub(crate) fn get(dataset: &str, path: &str) -> GetItem {
    GetItem::at(dataset.parse().unwrap(), path.parse().unwrap())
}

pub(crate) fn delete(dataset: &str, path: &str) -> DeleteItem {
    DeleteItem { dataset: dataset.parse().unwrap(), path: path.parse().unwrap(), generation: None }
}

pub(crate) fn identity() -> Identity {
    Identity::generate().unwrap()
}
