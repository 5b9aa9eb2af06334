use strongroom_core::call::{Call, GetItem, SignedCall, Work};
use strongroom_core::grant::{Action, Holder, Limits, Part, Prefix, Scope, Terms};
use strongroom_core::identity::{Fingerprint, Identity, Signature};
use strongroom_core::ids::{
    Digest, Generation, GrantId, Index, Millis, NodeId, RequestId, TenantId, VaultId, VendorId,
};
use strongroom_core::ledger::entry::{Actor, Entry, Event, ObjectRef, Outcome, Private, PutFact, Role};
use strongroom_core::order::{Instruction, Order};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;

use crate::audit::names::Names;

const VENDOR: VendorId = VendorId::from_bytes([0x11; 16]);
const GRANT: GrantId = GrantId::from_bytes([0x22; 16]);
const KEY: Fingerprint = Fingerprint::from_bytes([0x33; 32]);

fn entry(event: Event, role: Role) -> Entry {
    Entry {
        index: Index(12),
        time: Millis(1_772_373_907_000),
        event,
        actor: Actor { role, key: KEY },
        session: None,
        call: None,
        order: None,
        grants: vec![],
        outcome: Outcome::Done,
        reason: None,
        count: 1,
        puts: vec![],
        objects: vec![],
        request: None,
        log_key: None,
        node: NodeId::from_bytes([0; 16]),
        private: Digest::from_bytes([0; 32]),
    }
}

fn told(entry: &Entry, private: Option<&Private>, objects: &[&str]) -> String {
    let names = Names::new([(VENDOR, "labelco".to_owned())]);
    let objects: Vec<_> = objects.iter().map(|name| (*name).to_owned()).collect();
    super::line(&"acme".parse().unwrap(), entry, private, &objects, &names)
}

fn ordered(instruction: Instruction) -> Private {
    let ledger = Origin::new("demo", VaultId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])).unwrap();
    let order =
        Order { ledger, request: RequestId::from_bytes([3; 16]), not_after: Millis(0), instruction, incident: None };
    Private { order: Some(order.sign(&Identity::generate().unwrap()).unwrap()), ..Private::default() }
}

#[test]
fn a_release_names_its_object_vendor_and_grant() {
    let mut entry = entry(Event::Release, Role::Vendor(VENDOR));
    entry.grants = vec![GRANT];
    entry.objects = vec![ObjectRef(0, Index(3), 0, 0, 1, 1234)];
    assert_eq!(
        told(&entry, Some(&Private::default()), &["rlhf/math/000007.json"]),
        "    12  2026-03-01 14:05:07  release           labelco                 rlhf/math/000007.json (1.2 KiB) · gr_22222222…"
    );
    entry.objects = vec![ObjectRef(0, Index(3), 0, 1024, 2048, 64 << 20)];
    assert!(told(&entry, None, &["rlhf/big"]).contains("  rlhf/big segments 1024–2047 (64 MiB) · gr_22222222…"));
    entry.objects = vec![ObjectRef(0, Index(3), 0, 0, 1, 10), ObjectRef(1, Index(3), 1, 0, 1, 20)];
    assert!(told(&entry, None, &["rlhf/a", "rlhf/b"]).contains("  2 objects, first rlhf/a (30 B) · "));
}

#[test]
fn a_put_by_an_admin_names_the_key() {
    let mut entry = entry(Event::ObjectPut, Role::Admin);
    entry.puts = vec![PutFact(0, Generation(1), 2048, Digest::from_bytes([0; 32]))];
    assert!(told(&entry, None, &["rlhf/a"]).ends_with("  object.put        admin SHA256:MzMzMzMz…  rlhf/a (2 KiB)"));
}

#[test]
fn a_denial_says_why_and_what_was_asked() {
    let mut entry = entry(Event::Denied, Role::Vendor(VENDOR));
    (entry.outcome, entry.reason, entry.count) = (Outcome::Denied, Some(Reason::OutOfScope), 61);
    let item = GetItem::at("rlhf".parse().unwrap(), "secret".parse().unwrap());
    let call =
        Call { request: RequestId::from_bytes([0; 16]), grant: None, work: Work::Get(vec![item]), incident: None };
    let private = Private { call: Some(SignedCall { call, signature: Signature([0; 64]) }), ..Private::default() };
    assert!(told(&entry, Some(&private), &[]).ends_with("  OUT_OF_SCOPE · get rlhf/secret · 61 times"));
}

#[test]
fn orders_are_told_in_words() {
    let suspended = ordered(Instruction::SuspendVendor { vendor: VENDOR, note: Some("incident\n42".into()) });
    let line = told(&entry(Event::VendorSuspended, Role::Admin), Some(&suspended), &[]);
    assert!(line.ends_with("  labelco (incident 42)"), "{line}");

    let terms = Terms {
        holder: Holder::Vendor(VENDOR),
        parent: None,
        scopes: vec![Scope {
            actions: vec![Action::List, Action::Read],
            dataset: "rlhf".parse().unwrap(),
            part: Part::Prefix(Prefix::Folder("math/".into())),
        }],
        not_before: None,
        expires: Millis(1_772_373_907_000),
        delegable: false,
        limits: Limits::default(),
        purpose: None,
    };
    let mut issued = entry(Event::GrantIssued, Role::Admin);
    issued.grants = vec![GRANT];
    let line = told(&issued, Some(&ordered(Instruction::IssueGrant(terms))), &[]);
    let end = "  gr_22222222…: labelco may list and read acme/rlhf under math/ until 2026-03-01 14:05:07";
    assert!(line.ends_with(end), "{line}");
}

#[test]
fn what_was_erased_is_said_to_be() {
    assert!(told(&entry(Event::VendorAdded, Role::Admin), None, &[]).ends_with("  erased"));
}
