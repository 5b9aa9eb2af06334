//! The one decision, against a model that tries everything; and narrowing, against inclusion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use strongroom_core::grant::{
    Action, Authority, Blocked, Grant, Held, Holder, Limit, Limits, Part, Place, Prefix, Principal, Refusal, Request,
    Reset, Scope, Source, Standing, Tally, Terms, Usage, decide,
};
use strongroom_core::identity::{Fingerprint, Identity};
use strongroom_core::ids::{GrantId, IncidentId, Index, Millis, RequestId, TenantId, VaultId, VendorId};
use strongroom_core::names::{DatasetName, ObjectPath};
use strongroom_core::order::{Instruction, Order, VerifiedOrder};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

const NOW: u64 = 1_000_000;
const KEYS: u8 = 8;
const PREFIXES: [&str; 9] = ["", "a", "a*", "a/", "a/b", "a/b*", "a/b/", "ab", "*"];
const PATHS: [&str; 7] = ["a", "ab", "a/b", "a/bc", "a/b/c", "b", "a/c"];
const DATASETS: [&str; 2] = ["one", "two"];

/// Where requests come from; the last one says nothing.
const SOURCE_OF: [Option<&str>; 4] = [Some("192.0.2.7"), Some("192.0.2.130"), Some("2001:db8::1"), None];
/// Networks, and which of [`SOURCE_OF`] lie in them.
const SOURCES: [(&str, [bool; 4]); 5] = [
    ("192.0.2.0/24", [true, true, false, false]),
    ("192.0.2.0/25", [true, false, false, false]),
    ("192.0.2.130/32", [false, true, false, false]),
    ("2001:db8::/64", [false, false, true, false]),
    ("0.0.0.0/0", [true, true, false, false]),
];

static ADMIN: LazyLock<Identity> = LazyLock::new(|| Identity::generate().unwrap());

/// Key 0 is the signer of all orders, and an admin; the others only have names.
fn key(at: u8) -> Fingerprint {
    if at.is_multiple_of(KEYS) { ADMIN.fingerprint() } else { Fingerprint::from_bytes([at % KEYS; 32]) }
}

fn origin() -> Origin {
    Origin::new("test.vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap()
}

/// An authority, and what the model knows of it.
struct World {
    authority: Authority,
    entries: u64,
    admins: BTreeSet<Fingerprint>,
    /// (id, suspended, removed)
    vendors: Vec<(VendorId, bool, bool)>,
    /// Every key that was ever a vendor's: whose, and whether it is live.
    keys: BTreeMap<Fingerprint, (usize, bool)>,
    revoked: BTreeSet<GrantId>,
    /// The datasets that are frozen by themselves, and whether the tenant is.
    frozen: BTreeSet<usize>,
    all_frozen: bool,
    /// The keys that operators blocked.
    blocked: BTreeSet<Fingerprint>,
    incidents: Vec<IncidentId>,
}

#[derive(Debug, Clone)]
enum Op {
    Admin(u8),
    NoAdmin(u8),
    Vendor(Vec<u8>),
    Key(usize, u8),
    NoKey(u8),
    Suspend(usize),
    Resume(usize),
    Remove(usize),
    Revoke(u8),
    Freeze(usize),
    Unfreeze(usize),
    FreezeAll,
    UnfreezeAll,
    Block(u8),
    Incident(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => any::<u8>().prop_map(Op::Admin),
        1 => any::<u8>().prop_map(Op::NoAdmin),
        3 => vec(any::<u8>(), 0..3).prop_map(Op::Vendor),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(vendor, key)| Op::Key(vendor, key)),
        1 => any::<u8>().prop_map(Op::NoKey),
        2 => any::<usize>().prop_map(Op::Suspend),
        1 => any::<usize>().prop_map(Op::Resume),
        1 => any::<usize>().prop_map(Op::Remove),
        1 => (0..4_u8).prop_map(Op::Revoke),
        1 => (0..2_usize).prop_map(Op::Freeze),
        1 => (0..2_usize).prop_map(Op::Unfreeze),
        1 => Just(Op::FreezeAll),
        1 => Just(Op::UnfreezeAll),
        1 => any::<u8>().prop_map(Op::Block),
        1 => any::<usize>().prop_map(Op::Incident),
    ]
}

fn grant_id(at: u8) -> GrantId {
    GrantId::from_bytes([at; 16])
}

impl World {
    fn new() -> Self {
        let admins = BTreeSet::from([key(0)]);
        let authority = Authority::default();
        let (vendors, keys, revoked, frozen, all_frozen, blocked, incidents) = Default::default();
        let mut world =
            Self { authority, entries: 0, admins, vendors, keys, revoked, frozen, all_frozen, blocked, incidents };
        let name = "acme".parse().unwrap();
        assert!(world.order(Instruction::CreateTenant { name, admins: vec![key(0)] }, &[]).is_ok());
        for name in DATASETS {
            assert!(world.order(Instruction::CreateDataset { name: name.parse().unwrap() }, &[]).is_ok());
        }
        world
    }

    fn order(&mut self, instruction: Instruction, chain: &[&Grant]) -> Result<VerifiedOrder, Refusal> {
        let mut request = [0; 16];
        request[..8].copy_from_slice(&self.entries.to_be_bytes());
        let (request, not_after) = (RequestId::from_bytes(request), Millis(NOW));
        let order = Order { ledger: origin(), request, not_after, instruction, incident: None }
            .sign(&ADMIN)
            .unwrap()
            .verify()
            .unwrap();
        self.authority.admit(&order, &origin(), Millis(NOW), chain, Source::Unknown)?;
        self.authority.apply(Index(self.entries), &order);
        self.entries += 1;
        Ok(order)
    }

    /// Notes half of the keys that are blocked.
    fn note(&mut self, at: u8) {
        if at >= 128 || at.is_multiple_of(KEYS) || self.authority.blocked().contains(&key(at)) {
            return;
        }
        let mut request = [1; 16];
        request[..8].copy_from_slice(&self.entries.to_be_bytes());
        let (request, not_after) = (RequestId::from_bytes(request), Millis(NOW));
        let instruction = Instruction::BlockKey { key: key(at), note: None };
        let order = Order { ledger: origin().operators(), request, not_after, instruction, incident: None };
        let order = order.sign(&ADMIN).unwrap().verify().unwrap();
        self.authority.admit_note(&order, &origin()).unwrap();
        self.authority.apply(Index(self.entries), &order);
        self.entries += 1;
    }

    fn vendor_at(&self, at: usize) -> Option<usize> {
        (!self.vendors.is_empty()).then(|| at % self.vendors.len())
    }

    fn is_free(&self, key: &Fingerprint) -> bool {
        !self.admins.contains(key) && !self.keys.contains_key(key)
    }

    /// Carries out what can be, and checks that what cannot be is refused.
    fn apply(&mut self, op: &Op) {
        let expected;
        let instruction = match op {
            Op::Admin(at) => {
                expected = self.is_free(&key(*at));
                Instruction::AddAdmin { key: key(*at) }
            }
            // The signer stays.
            Op::NoAdmin(at) if at.is_multiple_of(KEYS) => return,
            Op::NoAdmin(at) => {
                expected = self.admins.contains(&key(*at)) && self.admins.len() > 1;
                Instruction::RemoveAdmin { key: key(*at) }
            }
            Op::Vendor(keys) => {
                let keys: BTreeSet<_> = keys.iter().map(|at| key(*at)).collect();
                expected = keys.iter().all(|key| self.is_free(key));
                let name = format!("v{}", self.vendors.len()).parse().unwrap();
                Instruction::AddVendor { name, keys: keys.into_iter().collect() }
            }
            Op::Key(vendor, at) => {
                let Some(vendor) = self.vendor_at(*vendor) else { return };
                expected = self.is_free(&key(*at)) && !self.vendors[vendor].2;
                Instruction::AddKey { vendor: self.vendors[vendor].0, key: key(*at) }
            }
            Op::NoKey(at) => {
                let Some(&(vendor, live)) = self.keys.get(&key(*at)) else { return };
                expected = live && !self.vendors[vendor].2;
                Instruction::RevokeKey { vendor: self.vendors[vendor].0, key: key(*at) }
            }
            Op::Suspend(vendor) | Op::Resume(vendor) | Op::Remove(vendor) => {
                let Some(at) = self.vendor_at(*vendor) else { return };
                let (vendor, suspended, removed) = self.vendors[at];
                expected = !removed && (suspended || !matches!(op, Op::Resume(_)));
                match op {
                    Op::Suspend(_) => Instruction::SuspendVendor { vendor, note: None },
                    Op::Resume(_) => Instruction::ResumeVendor { vendor, note: None },
                    _ => Instruction::RemoveVendor { vendor },
                }
            }
            Op::Revoke(at) => {
                expected = !self.revoked.contains(&grant_id(*at));
                Instruction::RevokeGrant { grant: grant_id(*at), note: None }
            }
            Op::Incident(vendor) => {
                let Some(at) = self.vendor_at(*vendor) else { return };
                expected = true;
                Instruction::OpenIncident { vendor: self.vendors[at].0, since: None, note: None }
            }
            Op::Freeze(at) => {
                expected = !self.frozen.contains(at);
                Instruction::FreezeDataset { name: DATASETS[*at].parse().unwrap(), note: None }
            }
            Op::Unfreeze(at) => {
                expected = self.frozen.contains(at);
                Instruction::UnfreezeDataset { name: DATASETS[*at].parse().unwrap(), note: None }
            }
            Op::FreezeAll => {
                expected = !self.all_frozen;
                Instruction::FreezeTenant { note: None }
            }
            Op::UnfreezeAll => {
                expected = self.all_frozen;
                Instruction::UnfreezeTenant { note: None }
            }
            Op::Block(at) => {
                // In another ledger than this one, which may or may not have noted it.
                self.blocked.insert(key(*at));
                self.note(*at);
                expected = false;
                Instruction::BlockKey { key: key(*at), note: None }
            }
        };
        let grant = grant(0, Holder::Key(key(0)), key(0), Vec::new());
        let grant = matches!(op, Op::Revoke(_)).then_some(&grant);
        let done = self.order(instruction.clone(), grant.as_slice());
        assert_eq!(done.is_ok(), expected, "{instruction:?}: {:?}", done.err());
        let Ok(order) = done else { return };
        match instruction {
            Instruction::AddAdmin { key } => drop(self.admins.insert(key)),
            Instruction::RemoveAdmin { key } => drop(self.admins.remove(&key)),
            Instruction::AddVendor { keys, .. } => {
                self.keys.extend(keys.into_iter().map(|key| (key, (self.vendors.len(), true))));
                self.vendors.push((order.id().into(), false, false));
            }
            Instruction::AddKey { vendor, key } => {
                let at = self.vendors.iter().position(|(id, ..)| *id == vendor).unwrap();
                self.keys.insert(key, (at, true));
            }
            Instruction::RevokeKey { key, .. } => self.keys.get_mut(&key).unwrap().1 = false,
            Instruction::SuspendVendor { vendor, .. } => self.change(vendor, |v| v.1 = true),
            Instruction::ResumeVendor { vendor, .. } => self.change(vendor, |v| v.1 = false),
            Instruction::RemoveVendor { vendor } => self.change(vendor, |v| v.2 = true),
            Instruction::RevokeGrant { grant, .. } => drop(self.revoked.insert(grant)),
            Instruction::FreezeDataset { name, .. } => drop(self.frozen.insert(dataset_at(&name))),
            Instruction::UnfreezeDataset { name, .. } => drop(self.frozen.remove(&dataset_at(&name))),
            Instruction::FreezeTenant { .. } => self.all_frozen = true,
            Instruction::OpenIncident { .. } => self.incidents.push(order.id().into()),
            Instruction::UnfreezeTenant { .. } => self.all_frozen = false,
            _ => {}
        }
    }

    fn change(&mut self, vendor: VendorId, change: impl Fn(&mut (VendorId, bool, bool))) {
        self.vendors.iter_mut().filter(|(id, ..)| *id == vendor).for_each(change);
    }

    /// The vendor whose live key this is.
    fn vendor_of(&self, key: &Fingerprint) -> Option<VendorId> {
        let (vendor, live) = self.keys.get(key)?;
        let (id, _, removed) = self.vendors[*vendor];
        (*live && !removed).then_some(id)
    }

    fn holds(&self, holder: &Holder, key: &Fingerprint) -> bool {
        match holder {
            Holder::Vendor(vendor) => self.vendor_of(key) == Some(*vendor) && !self.admins.contains(key),
            Holder::Key(own) => {
                own == key
                    && (self.admins.contains(key) || self.vendor_of(key).is_some() || !self.keys.contains_key(key))
            }
        }
    }

    fn is_suspended(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Vendor(vendor) => self.vendors.iter().any(|(id, suspended, _)| id == vendor && *suspended),
            Holder::Key(key) => self.keys.get(key).is_some_and(|(vendor, _)| self.vendors[*vendor].1),
        }
    }

    /// The decision, in the order in which DESIGN names the reasons.
    fn expected(&self, request: &Request<'_>, chain: &[Held<'_>], from: usize) -> Result<Vec<GrantId>, Reason> {
        let key = &request.key;
        if self.blocked.contains(key) {
            return Err(Reason::KeyBlocked);
        }
        let admin = self.admins.contains(key);
        let stops = |place: &Place<'_>| {
            let is_name = admin && place.action == Action::List;
            !is_name && (self.all_frozen || self.frozen.contains(&dataset_at(place.dataset)))
        };
        let is_frozen = request.places.iter().any(stops) || self.all_frozen && request.grant.is_some();
        let holds = chain.first().is_some_and(|held| self.holds(&held.grant.terms.holder, key));
        if !admin && self.vendor_of(key).is_none() && !holds {
            return Err(Reason::Unauthenticated);
        }
        if self.is_suspended(&Holder::Key(*key))
            || holds && chain.iter().any(|held| self.is_suspended(&held.grant.terms.holder))
        {
            return Err(Reason::VendorSuspended);
        }
        if request.grant.is_none() {
            if !admin {
                return Err(Reason::OutOfScope);
            }
            if request.incident.is_some_and(|incident| !self.incidents.contains(&incident)) {
                return Err(Reason::NotFound);
            }
            if is_frozen {
                return Err(Reason::Frozen);
            }
            return request.obstacle.map_or(Ok(Vec::new()), |refusal| Err(refusal.reason));
        }
        let in_scope = request.places.iter().all(|place| chain.iter().all(|held| allows(held.grant, place)));
        if !holds || !in_scope {
            return Err(Reason::OutOfScope);
        }
        for (at, held) in chain.iter().enumerate() {
            let signed_by_holder =
                chain.get(at + 1).is_none_or(|up| self.holds(&up.grant.terms.holder, &held.grant.issuer));
            let by_blocked = held.grant.terms.parent.is_some() && self.blocked.contains(&held.grant.issuer);
            if self.revoked.contains(&held.grant.id) || !signed_by_holder || by_blocked {
                return Err(Reason::GrantRevoked);
            }
            if NOW >= held.grant.terms.expires.0 {
                return Err(Reason::GrantExpired);
            }
            if held.grant.terms.not_before.is_some_and(|from| from.0 > NOW) {
                return Err(Reason::OutOfScope);
            }
            let sources = &held.grant.terms.limits.sources;
            let lies_in = |text: &String| SOURCES.iter().any(|(network, covered)| text == network && covered[from]);
            if !sources.is_empty() && !sources.iter().any(lies_in) {
                return Err(Reason::OutOfScope);
            }
        }
        match request.incident {
            Some(_) if !admin => return Err(Reason::OutOfScope),
            Some(incident) if !self.incidents.contains(&incident) => return Err(Reason::NotFound),
            _ => {}
        }
        if is_frozen {
            return Err(Reason::Frozen);
        }
        if let Some(refusal) = request.obstacle {
            return Err(refusal.reason);
        }
        let charge = request.charge;
        let mut too_fast = false;
        for Held { grant, tally } in chain {
            let (limits, usage) = (&grant.terms.limits, tally.total);
            let over = |limit: Option<u64>, used: u64, more: u64| {
                limit.is_some_and(|limit| u128::from(used) + u128::from(more) > limit.into())
            };
            if over(limits.bytes, usage.bytes, charge.bytes)
                || over(limits.objects, usage.objects, charge.objects)
                || over(limits.uses, usage.uses, charge.uses)
            {
                return Err(Reason::QuotaExceeded);
            }
            let minute = if tally.minute == NOW / 60_000 { tally.minute_bytes } else { 0 };
            too_fast |= over(limits.bytes_per_minute, minute, charge.bytes);
        }
        if too_fast {
            return Err(Reason::QuotaExceeded);
        }
        Ok(chain.iter().map(|held| held.grant.id).collect())
    }
}

fn dataset_at(name: &DatasetName) -> usize {
    DATASETS.iter().position(|known| *known == name.as_str()).unwrap()
}

/// Whether one scope of a grant allows something, told from the texts.
fn allows(grant: &Grant, place: &Place<'_>) -> bool {
    grant.terms.scopes.iter().any(|scope| {
        let Part::Prefix(prefix) = &scope.part else { return false };
        let right = scope.dataset == *place.dataset && scope.actions.contains(&place.action);
        right && text_covers(&prefix.to_string(), place.path.as_str())
    })
}

fn text_covers(prefix: &str, path: &str) -> bool {
    if let Some(stem) = prefix.strip_suffix('*') {
        path.starts_with(stem)
    } else if prefix.is_empty() || prefix.ends_with('/') {
        path.starts_with(prefix)
    } else {
        path == prefix
    }
}

fn grant(id: u8, holder: Holder, issuer: Fingerprint, scopes: Vec<Scope>) -> Grant {
    let (expires, limits) = (Millis(NOW + 1), Limits::default());
    let terms =
        Terms { holder, parent: None, scopes, not_before: None, expires, delegable: true, limits, purpose: None };
    Grant { id: grant_id(id), issued: Index(0), issuer, terms }
}

fn scope() -> impl Strategy<Value = Scope> {
    let actions = prop_oneof![
        3 => Just(Action::ALL.to_vec()),
        2 => prop::sample::subsequence(Action::ALL.to_vec(), 1..=5),
    ];
    (actions, prop::sample::select(&DATASETS[..]), prop::sample::select(&PREFIXES[..])).prop_map(
        |(actions, dataset, prefix)| Scope {
            actions,
            dataset: dataset.parse().unwrap(),
            part: Part::Prefix(prefix.parse().unwrap()),
        },
    )
}

/// A grant of a chain: who holds it, who issued it, its scopes, its times around now, limits and usage around each other.
#[derive(Debug, Clone)]
struct Link {
    vendor: Option<usize>,
    key: u8,
    issuer: u8,
    scopes: Vec<Scope>,
    expires: i64,
    not_before: Option<i64>,
    limits: (Option<u64>, Option<u64>, Option<u64>, Option<u64>),
    usage: (u64, u64, u64),
    /// Whether the newest minute is this one, and its bytes.
    minute: (bool, u64),
    sources: Vec<usize>,
}

fn link() -> impl Strategy<Value = Link> {
    let limit = || of(prop_oneof![0..4_u64, Just(strongroom_core::exact::MAX_INTEGER)]);
    let usage = || prop_oneof![4 => 0..3_u64, 1 => Just(u64::MAX)];
    let all =
        Scope { actions: Action::ALL.to_vec(), dataset: "one".parse().unwrap(), part: Part::Prefix(Prefix::all()) };
    let scopes = prop_oneof![2 => vec(scope(), 1..4), 2 => Just(vec![all])];
    let expires = prop_oneof![4 => Just(1_i64), 1 => -1..3_i64];
    (
        of(any::<usize>()),
        any::<u8>(),
        any::<u8>(),
        scopes,
        expires,
        of(-1..2_i64),
        (limit(), limit(), limit(), limit()),
        (usage(), usage(), usage()),
        ((any::<bool>(), usage()), prop_oneof![3 => Just(Vec::new()), 1 => vec(0..SOURCES.len(), 1..3)]),
    )
        .prop_map(|(vendor, key, issuer, scopes, expires, not_before, limits, usage, (minute, sources))| Link {
            vendor,
            key,
            issuer,
            scopes,
            expires,
            not_before,
            limits,
            usage,
            minute,
            sources,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_the_models(
        ops in vec(op(), 0..10),
        links in vec(link(), 0..4),
        at in any::<u8>(),
        names_grant in prop::bool::weighted(0.9),
        wanted in vec((prop::sample::select(&Action::ALL[..]), 0..2_usize, 0..PATHS.len()), 0..3),
        charge in (0..3_u64, 0..3_u64, 0..2_u64),
        is_gone in prop::bool::weighted(0.1),
        from in 0..4_usize,
        incident in of(any::<prop::sample::Index>()),
    ) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.apply(op));
        let chain: Vec<(Grant, Tally)> = (0..).zip(&links).map(|(id, link)| {
            let vendor = link.vendor.and_then(|at| world.vendor_at(at)).map(|at| world.vendors[at].0);
            let holder = vendor.map_or(Holder::Key(key(link.key)), Holder::Vendor);
            let mut grant = grant(id, holder, key(link.issuer), link.scopes.clone());
            grant.terms.parent = (usize::from(id) + 1 < links.len()).then(|| grant_id(id + 1));
            grant.terms.expires = Millis(NOW.saturating_add_signed(link.expires));
            grant.terms.not_before = link.not_before.map(|by| Millis(NOW.saturating_add_signed(by)));
            let (bytes, objects, uses, bytes_per_minute) = link.limits;
            let sources = link.sources.iter().map(|at| SOURCES[*at].0.to_owned()).collect();
            grant.terms.limits = Limits { bytes, objects, uses, bytes_per_minute, sources };
            let (bytes, objects, uses) = link.usage;
            let minute = NOW / 60_000 - u64::from(!link.minute.0);
            (grant, Tally { total: Usage { bytes, objects, uses }, minute, minute_bytes: link.minute.1 })
        }).collect();
        let held: Vec<_> = chain.iter().map(|(grant, tally)| Held { grant, tally: *tally }).collect();
        let datasets = DATASETS.map(|name| name.parse::<DatasetName>().unwrap());
        let paths = PATHS.map(|path| path.parse::<ObjectPath>().unwrap());
        let places: Vec<_> = wanted
            .iter()
            .map(|(action, dataset, path)| Place { action: *action, dataset: &datasets[*dataset], path: &paths[*path] })
            .collect();
        // The last one was never opened.
        let incident = incident.map(|at| {
            let known = at.index(world.incidents.len() + 1);
            world.incidents.get(known).copied().unwrap_or(IncidentId::from_bytes([9; 16]))
        });
        let gone = Refusal::new(Reason::NotFound, "gone");
        let request = Request {
            key: key(at),
            // A grant that nobody knows has an empty chain.
            grant: names_grant.then_some(grant_id(0)),
            incident,
            places: &places,
            charge: Usage { bytes: charge.0, objects: charge.1, uses: charge.2 },
            source: SOURCE_OF[from].map_or(Source::Unknown, |text| Source::Address(text.parse().unwrap())),
            obstacle: is_gone.then_some(&gone),
        };
        let held = if names_grant { &held[..] } else { &[] };
        let blocked: Blocked = world.blocked.iter().map(|key| (*key, Index(0))).collect();
        let standing = Standing { now: Millis(NOW), authority: &world.authority, chain: held, blocked: &blocked };
        let decided = decide(&request, &standing);
        let expected = world.expected(&request, held, from);
        prop_assert_eq!(decided.as_ref().map(|allowed| allowed.chain.clone()).map_err(|refusal| refusal.reason), expected);
        if let Ok(allowed) = decided {
            let principal = match world.vendor_of(&key(at)) {
                _ if world.admins.contains(&key(at)) => Principal::Admin,
                Some(vendor) => Principal::Vendor(vendor),
                None => Principal::Key,
            };
            prop_assert_eq!(allowed.principal, principal);
        }
    }

    /// What a child may do, its parents may; and with a single parent scope, narrowing is exactly that.
    #[test]
    fn narrowing_is_inclusion(child in scope(), parents in vec(scope(), 0..4)) {
        let may = |scope: &Scope, action, dataset: &DatasetName, path: &ObjectPath| scope.covers(action, dataset, path);
        let universe = universe();
        let datasets = DATASETS.map(|name| name.parse::<DatasetName>().unwrap());
        let is_included = |parents: &[Scope]| Action::ALL.iter().all(|action| datasets.iter().all(|dataset| universe.iter().all(|path| {
            !may(&child, *action, dataset, path) || parents.iter().any(|parent| may(parent, *action, dataset, path))
        })));
        prop_assert!(!child.narrows(&parents) || is_included(&parents));
        for parent in &parents {
            prop_assert_eq!(child.narrows(std::slice::from_ref(parent)), is_included(std::slice::from_ref(parent)));
        }
    }
}

/// Paths that tell any two of [`PREFIXES`] apart.
fn universe() -> Vec<ObjectPath> {
    let mut paths = Vec::new();
    for first in ["a", "ab", "abc", "b", "c"] {
        paths.push(first.to_owned());
        for second in ["b", "bc", "c", "z"] {
            paths.push(format!("{first}/{second}"));
            paths.push(format!("{first}/{second}/d"));
        }
    }
    paths.iter().map(|path| path.parse().unwrap()).collect()
}

#[test]
fn snapshots_narrow_to_themselves_only() {
    let scope = |part| Scope { actions: vec![Action::Read], dataset: "one".parse().unwrap(), part };
    let snapshot = |byte| Part::Snapshot(strongroom_core::ids::Digest::from_bytes([byte; 32]));
    let all = Part::Prefix(Prefix::all());
    assert!(scope(snapshot(1)).narrows(&[scope(snapshot(1))]));
    assert!(!scope(snapshot(1)).narrows(&[scope(snapshot(2))]));
    assert!(!scope(snapshot(1)).narrows(&[scope(all.clone())]));
    assert!(!scope(all).narrows(&[scope(snapshot(1))]));
}

/// A charge: to which grants of a chain of three it falls (from which on up), how long after the one before, and how much.
fn charge_of_chain() -> impl Strategy<Value = (usize, u64, u64)> {
    (0..3_usize, prop_oneof![0..30_000_u64, Just(60_000), Just(0)], 0..40_u64)
}

proptest! {
    /// What a chain's rates let through, minute by minute, told from the list of all charges.
    #[test]
    fn rates_hold_in_every_minute(rates in vec(of(0..100_u64), 3), charges in vec(charge_of_chain(), 1..40)) {
        let world = World::new();
        let all = Scope { actions: vec![Action::Read], dataset: "one".parse().unwrap(), part: Part::Prefix(Prefix::all()) };
        let grants: Vec<Grant> = (0..3).map(|at| {
            let mut grant = grant(at, Holder::Key(key(0)), key(0), vec![all.clone()]);
            grant.terms.parent = (at < 2).then(|| grant_id(at + 1));
            grant.terms.expires = Millis(u64::MAX);
            grant.terms.limits.bytes_per_minute = rates[usize::from(at)];
            grant
        }).collect();
        let mut tallies = [Tally::default(); 3];
        let mut done: Vec<(usize, u64, u64)> = Vec::new();
        let mut now = NOW;
        for (from, wait, bytes) in charges {
            now += wait;
            let chain: Vec<_> = (from..3).map(|at| Held { grant: &grants[at], tally: tallies[at] }).collect();
            let charge = Usage { bytes, objects: 1, uses: 1 };
            let request = Request { key: key(0), grant: Some(grants[from].id), incident: None, places: &[], charge, source: Source::Unknown, obstacle: None };
            let decided = decide(&request, &Standing { now: Millis(now), authority: &world.authority, chain: &chain, blocked: Blocked::none() });
            // To each grant fall the charges under it and under those below it.
            let minute = |at: usize| done.iter().filter(move |(from, when, _)| *from <= at && when / 60_000 == now / 60_000);
            let sum = |at: usize| minute(at).map(|(.., bytes)| bytes).sum::<u64>() + bytes;
            let over: Vec<usize> = (from..3).filter(|at| rates[*at].is_some_and(|rate| sum(*at) > rate)).collect();
            match decided {
                Ok(_) => {
                    prop_assert!(over.is_empty());
                    (from..3).for_each(|at| tallies[at] = tallies[at].charged(charge, Millis(now)));
                    done.push((from, now, bytes));
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal.reason, Reason::QuotaExceeded);
                    let hit = refusal.hit.unwrap();
                    prop_assert_eq!(hit.limit, Limit::BytesPerMinute);
                    let next = (now / 60_000 + 1) * 60_000;
                    let fits = rates[over[0]].is_some_and(|rate| bytes <= rate);
                    prop_assert_eq!(hit.resets, fits.then(|| Reset { at: Millis(next), after: next - now }));
                }
            }
        }
    }
}

#[test]
fn charges_never_wrap_around() {
    let full = Usage { bytes: u64::MAX, objects: u64::MAX, uses: u64::MAX };
    let one = Usage { bytes: 1, objects: 1, uses: 1 };
    assert_eq!(full.plus(one), full);
    let limits = Limits { bytes: Some(u64::MAX - 1), ..Limits::default() };
    assert!(limits.overrun_by(&full.plus(one)).is_some());
}

#[test]
fn orders_are_admitted_by_admins_for_this_ledger_in_time() {
    let world = World::new();
    let sign = |ledger: Origin, not_after: u64, who: &Identity| {
        let instruction = Instruction::AddAdmin { key: key(3) };
        let request = RequestId::from_bytes([1; 16]);
        Order { ledger, request, not_after: Millis(not_after), instruction, incident: None }
            .sign(who)
            .unwrap()
            .verify()
            .unwrap()
    };
    let admit = |order: &VerifiedOrder| {
        world.authority.admit(order, &origin(), Millis(NOW), &[], Source::Unknown).map_err(|r| r.reason)
    };
    assert_eq!(admit(&sign(origin(), NOW, &ADMIN)), Ok(()));
    assert_eq!(admit(&sign(origin(), NOW - 1, &ADMIN)), Err(Reason::PreconditionFailed));
    let other = Origin::new("test.vault", VaultId::from_bytes([1; 16]), TenantId::from_bytes([3; 16])).unwrap();
    assert_eq!(admit(&sign(other, NOW, &ADMIN)), Err(Reason::PreconditionFailed));
    let stranger = Identity::generate().unwrap();
    assert_eq!(admit(&sign(origin(), NOW, &stranger)), Err(Reason::OutOfScope));
    // Two signatures are two consents: one by an admin does not make up for another.
    let both = {
        let mut signed = sign(origin(), NOW, &ADMIN).into_signed();
        signed.signatures.extend(sign(origin(), NOW, &stranger).into_signed().signatures);
        signed.verify().unwrap()
    };
    assert_eq!(admit(&both), Err(Reason::OutOfScope));
}

#[test]
fn terms_that_are_not_enforced_yet_are_refused() {
    let mut world = World::new();
    world.apply(&Op::Vendor(vec![1]));
    let vendor = world.vendors[0].0;
    let reason = |change: &dyn Fn(&mut Terms)| {
        let scope =
            Scope { actions: vec![Action::Read], dataset: "one".parse().unwrap(), part: Part::Prefix(Prefix::all()) };
        let mut terms = grant(0, Holder::Vendor(vendor), key(0), vec![scope]).terms;
        change(&mut terms);
        let mut world = World { authority: world.authority.clone(), ..World::new() };
        world.order(Instruction::IssueGrant(terms), &[]).err().map(|refusal| refusal.reason)
    };
    assert_eq!(reason(&|_| ()), None);
    assert_eq!(reason(&|terms| terms.parent = Some(grant_id(1))), Some(Reason::OutOfScope));
    assert_eq!(reason(&|terms| terms.limits.bytes_per_minute = Some(1)), None);
    assert_eq!(reason(&|terms| terms.limits.sources = vec!["192.0.2.0/24".into()]), None);
    assert_eq!(reason(&|terms| terms.limits.sources = vec!["192.0.2.7/24".into()]), Some(Reason::InvalidArgument));
    let snapshot = Part::Snapshot(strongroom_core::ids::Digest::from_bytes([1; 32]));
    assert_eq!(reason(&|terms| terms.scopes[0].part = snapshot.clone()), Some(Reason::Unsupported));
    assert_eq!(reason(&|terms| terms.scopes[0].dataset = "none".parse().unwrap()), Some(Reason::NotFound));
    assert_eq!(reason(&|terms| terms.holder = Holder::Vendor(VendorId::from_bytes([9; 16]))), Some(Reason::NotFound));
    assert_eq!(reason(&|terms| terms.expires = Millis(NOW)), Some(Reason::InvalidArgument));
    assert_eq!(reason(&|terms| terms.not_before = Some(terms.expires)), Some(Reason::InvalidArgument));
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(reason(&|terms| terms.expires = Millis(NOW + day)), None);
    assert_eq!(reason(&|terms| terms.expires = Millis(NOW + day + 1)), Some(Reason::InvalidArgument));
}
