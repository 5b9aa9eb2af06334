//! The published vectors of ledgers, section by section: made by an independent implementation.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use serde_json::Value;
use strongroom_core::call::{Call, SignedCall};
use strongroom_core::ed25519::{SigningKey, VerifyingKey};
use strongroom_core::escrow::{self, Checksum, EscrowedKey, ExportHead, ExportedObject};
use strongroom_core::exact;
use strongroom_core::grant::Usage;
use strongroom_core::identity::{Identity, PublicKey, Purpose, Signature, sha256};
use strongroom_core::ids::{DatasetId, Digest, GrantId, Index, Millis, TenantId, VendorId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::unwrap;
use strongroom_core::ledger::batch::split;
use strongroom_core::ledger::replay::{Counts, Proof, Replay};
use strongroom_core::ledger::tree::{CompactRange, leaf_hash};
use strongroom_core::ledger::{Entry, Head, LedgerKey, Private, Seen};
use strongroom_core::order::{Order, OrderError, SignedOrder};
use strongroom_core::session::{Opening, SessionStatement, SignedOpening};
use strongroom_core::succession::Succession;

fn file() -> Value {
    serde_json::from_str(include_str!("vectors/ledger-v1.json")).unwrap()
}

fn vectors(section: &str) -> Vec<Value> {
    let section = file()[section].as_array().unwrap().clone();
    assert!(!section.is_empty());
    section
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(text(value).as_bytes()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

fn signature(value: &Value) -> Signature {
    Signature(array(value))
}

fn digests(value: &Value) -> Vec<Digest> {
    value.as_array().unwrap().iter().map(|digest| text(digest).parse().unwrap()).collect()
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    text(value).parse().unwrap()
}

#[test]
fn identities() {
    for vector in vectors("identities") {
        let fingerprint = match text(&vector["kind"]) {
            "p256" => PublicKey::from_point(&hex(&vector["public"])).unwrap().fingerprint(),
            _ => {
                let seed = Key::try_from_slice(&hex(&vector["private"])).unwrap();
                let key = SigningKey::from_seed(seed).unwrap().public_key();
                assert_eq!(key.as_bytes()[..], hex(&vector["public"]));
                key.fingerprint()
            }
        };
        assert_eq!(fingerprint.to_string(), text(&vector["fingerprint"]), "{}", vector["name"]);
    }
}

#[test]
fn signatures() {
    for vector in vectors("signatures") {
        let purpose = match text(&vector["purpose"]) {
            "opening" => Purpose::Opening,
            "session" => Purpose::Session,
            "call" => Purpose::Call,
            _ => Purpose::Order,
        };
        let (public, message, signature) = (hex(&vector["public"]), hex(&vector["message"]), hex(&vector["signature"]));
        let holds = match text(&vector["kind"]) {
            "p256" => PublicKey::from_point(&public).unwrap().verify(purpose, &message, &signature),
            _ => VerifyingKey::from_bytes(public.try_into().unwrap()).verify(purpose, &message, &signature),
        };
        assert_eq!(holds.is_ok(), vector["holds"].as_bool().unwrap(), "{}", vector["name"]);
    }
}

#[test]
fn orders() {
    for vector in vectors("orders") {
        let bytes = text(&vector["bytes"]).as_bytes();
        let order: Order = exact::from_slice(bytes).unwrap();
        let verified = SignedOrder::accept(text(&vector["signed"]).as_bytes()).unwrap();
        assert_eq!(*verified.order(), order, "{}", vector["name"]);
        assert_eq!(verified.id().to_string(), text(&vector["id"]));
        let signers: Vec<_> = verified.signers().iter().map(ToString::to_string).collect();
        assert_eq!(Value::from(signers), vector["signers"]);
        assert_eq!(GrantId::from(verified.id()), parse(&vector["grant"]));
        assert_eq!(VendorId::from(verified.id()), parse(&vector["vendor"]));
        assert_eq!(DatasetId::from(verified.id()), parse(&vector["dataset"]));
        assert_eq!(verified.into_signed().bytes().unwrap(), text(&vector["signed"]).as_bytes());
    }
}

#[test]
fn openings() {
    for vector in vectors("openings") {
        let signed: SignedOpening = exact::from_slice(text(&vector["signed"]).as_bytes()).unwrap();
        let bytes = text(&vector["bytes"]).as_bytes();
        assert_eq!(signed.opening.bytes().unwrap(), bytes, "{}", vector["name"]);
        let (id, again) = SignedOpening::accept(bytes, signed.key, signed.signature).unwrap();
        assert_eq!((id, &again), (parse(&vector["session"]), &signed));
        assert_eq!(signed.verify().unwrap(), Opening::session_id(bytes));
        assert_eq!(signed.key.fingerprint(), parse(&vector["signer"]));
    }
}

#[test]
fn statements() {
    for vector in vectors("statements") {
        let bytes = text(&vector["bytes"]).as_bytes();
        let statement: SessionStatement = exact::from_slice(bytes).unwrap();
        assert_eq!(exact::to_vec(&statement).unwrap(), bytes);
        let key = VerifyingKey::from_bytes(array(&vector["vault_key"]));
        assert!(key.verify(Purpose::Session, bytes, &hex(&vector["signature"])).is_ok(), "{}", vector["name"]);
    }
}

#[test]
fn calls() {
    for vector in vectors("calls") {
        let bytes = text(&vector["bytes"]).as_bytes();
        let (session, origin) = (parse(&vector["session"]), parse(&vector["origin"]));
        let digest = Call::digest(&session, &origin, bytes);
        assert_eq!(digest, parse(&vector["digest"]), "{}", vector["name"]);
        assert_eq!(sha256(bytes), array(&vector["request_digest"]));
        let key = VerifyingKey::from_bytes(array(&vector["call_key"]));
        let (again, request_digest, signed) =
            SignedCall::accept(bytes, signature(&vector["signature"]), &session, &origin, &key).unwrap();
        assert_eq!((again, *request_digest.as_bytes()), (digest, sha256(bytes)));
        assert_eq!(exact::to_vec(&signed).unwrap(), text(&vector["signed"]).as_bytes());
        assert_eq!(signed.verify(&session, &origin, &key).unwrap(), digest);
    }
}

#[test]
fn entries() {
    for vector in vectors("entries") {
        let (public, private) = (text(&vector["public"]).as_bytes(), text(&vector["private"]).as_bytes());
        let entry = Entry::from_bytes(public).unwrap();
        assert_eq!(entry.bytes().unwrap(), public, "{}", vector["name"]);
        assert_eq!(Private::from_bytes(private).unwrap().bytes().unwrap(), private);
        assert_eq!(Private::hash(private), entry.private);
        assert_eq!(leaf_hash(public), parse(&vector["leaf"]));
    }
}

#[test]
fn ledger() {
    let vector = &file()["ledger"];
    let (public, private) = (hex(&vector["public"]), hex(&vector["private"]));
    let (public, private) = (split(&public).unwrap(), split(&private).unwrap());
    let tips = digests(&vector["tips"]);
    let mut replay = Replay::new(parse(&vector["origin"]));
    assert_eq!(replay.tip(), tips[0]);
    for ((public, private), tip) in public.iter().zip(&private).zip(&tips[1..]) {
        let step = replay.feed(public, Some(private)).unwrap();
        assert_eq!(step.proof, Proof::Whole);
        assert_eq!(replay.tip(), *tip);
    }
    let usage = &vector["usage"];
    let number = |name: &str| usage[name].as_u64().unwrap();
    let usage = Usage { bytes: number("bytes"), objects: number("objects"), uses: number("uses") };
    assert_eq!(replay.usage(&parse(&vector["grant"])), Some(usage));
    assert_eq!(replay.head().authority_tip, array(&vector["authority_tip"]));
    assert_eq!(replay.head().canonical_bytes(), hex(&vector["head"]));
    let entries = public.len() as u64;
    assert_eq!(replay.counts(), Counts { entries, releases: 2, denials: 1, uncheckable: 0 });
}

#[test]
fn roots() {
    for vector in vectors("roots") {
        let mut range = CompactRange::default();
        let size = vector["size"].as_u64().unwrap();
        (0..size).for_each(|i| range.append(leaf_hash(format!("leaf {i}").as_bytes())));
        assert_eq!(range.root(), parse(&vector["root"]), "{}", vector["name"]);
        assert_eq!(range.roots(), digests(&vector["compact"]));
        assert_eq!(CompactRange::from_roots(size, digests(&vector["compact"])), Some(range));
    }
}

fn ledger_key(vector: &Value) -> LedgerKey {
    LedgerKey::new(&Key::try_from_slice(&hex(&vector["key"])).unwrap())
}

#[test]
fn heads() {
    for vector in vectors("heads") {
        let number = |name: &str| vector[name].as_u64().unwrap();
        let head = Head {
            range: CompactRange::from_roots(number("size"), digests(&vector["roots"])).unwrap(),
            authority_tip: array(&vector["authority_tip"]),
            time: Millis(parse(&vector["time"])),
            epoch: number("epoch"),
            hides: number("hides"),
        };
        let canonical = hex(&vector["canonical"]);
        assert_eq!(head.canonical_bytes(), canonical, "{}", vector["name"]);
        assert_eq!(Head::from_canonical_bytes(&canonical).as_ref(), Some(&head));
        let (key, tenant) = (ledger_key(&vector), TenantId::from_bytes(array(&vector["tenant"])));
        let mac = hex(&vector["mac"]);
        assert_eq!(key.head(&tenant, &head)[..], mac);
        assert!(key.check_head(&tenant, &head, &mac));
        assert!(!key.check_head(&TenantId::from_bytes([9; 16]), &head, &mac));
        assert!(!key.check_head(&tenant, &Head { epoch: head.epoch + 1, ..head.clone() }, &mac));
    }
}

#[test]
fn rows() {
    let mut macs = Vec::new();
    for vector in vectors("rows") {
        let fields: Vec<_> = vector["fields"].as_array().unwrap().iter().map(hex).collect();
        let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
        let (key, table, mac) = (ledger_key(&vector), text(&vector["table"]), hex(&vector["mac"]));
        assert_eq!(key.row(table, &fields)[..], mac, "{}", vector["name"]);
        assert!(key.check_row(table, &fields, &mac));
        assert!(!key.check_row("other", &fields, &mac) && !key.check_row(table, &fields, &mac[1..]));
        assert!(!macs.contains(&mac));
        macs.push(mac);
    }
}

#[test]
fn seen() {
    for vector in vectors("seen") {
        let (key, tenant) = (ledger_key(&vector), TenantId::from_bytes(array(&vector["tenant"])));
        let (size, tip) = (Index(vector["size"].as_u64().unwrap()), parse(&vector["tip"]));
        let seen = Seen { size, tip, mac: parse(&vector["mac"]) };
        assert_eq!(key.seen(&tenant, size, tip), seen, "{}", vector["name"]);
        assert!(key.check_seen(&tenant, &seen));
        assert!(!key.check_seen(&tenant, &Seen { size: Index(size.0 + 1), ..seen }));
    }
}

/// Orders that stop somebody, and the operators' ledger: `vectors/stops-v1.json`.
#[test]
fn stops() {
    let file: Value = serde_json::from_str(include_str!("vectors/stops-v1.json")).unwrap();
    let own = &file["operators"];
    let vault = strongroom_core::ids::VaultId::from_bytes(array(&own["vault"]));
    let tenant = TenantId::of_operators(&vault);
    assert_eq!(tenant, TenantId::from_bytes(array(&own["tenant"])));
    assert_eq!(strongroom_core::names::TenantName::of_operators(&vault), parse(&own["name"]));
    let origin: strongroom_core::origin::Origin = parse(&own["origin"]);
    assert!(origin.is_operators() && (origin.vault(), origin.tenant()) == (vault, tenant));
    let orders = file["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 6);
    for vector in orders {
        let bytes = text(&vector["bytes"]).as_bytes();
        let order: Order = exact::from_slice(bytes).unwrap();
        assert_eq!(exact::to_vec(&order).unwrap(), bytes);
        assert_eq!(Digest::from_bytes(sha256(bytes)).to_string(), text(&vector["id"]));
        let event = strongroom_core::ledger::Event::of_instruction(&order.instruction);
        assert_eq!(event.name(), text(&vector["event"]));
        let takes_away = strongroom_core::grant::authority::takes_away(&order.instruction);
        assert_eq!(Some(takes_away), vector["takes_away"].as_bool(), "{}", vector["name"]);
        assert_eq!(order.instruction.is_operators(), order.ledger.is_operators());
    }
}

/// Orders on policy, renewals, keys, shredding, escrow and incidents, and what is none: `vectors/orders-v1.json`.
#[test]
fn later_orders() {
    let file: Value = serde_json::from_str(include_str!("vectors/orders-v1.json")).unwrap();
    let orders = file["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 26);
    for vector in orders {
        let bytes = text(&vector["bytes"]).as_bytes();
        let order: Order = exact::from_slice(bytes).unwrap();
        assert_eq!(exact::to_vec(&order).unwrap(), bytes, "{}", vector["name"]);
        assert_eq!(Digest::from_bytes(sha256(bytes)).to_string(), text(&vector["id"]));
        let event = strongroom_core::ledger::Event::of_instruction(&order.instruction);
        assert_eq!(event.name(), text(&vector["event"]));
        let is_authority = strongroom_core::grant::authority::is_authority(&order.instruction);
        assert_eq!(Some(is_authority), vector["is_authority"].as_bool(), "{}", vector["name"]);
        assert_eq!(strongroom_core::grant::authority::is_authority_event(event), is_authority);
    }
    let refused = file["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 24);
    for vector in refused {
        assert!(exact::from_slice::<Order>(text(&vector["bytes"]).as_bytes()).is_err(), "{}", vector["name"]);
    }
    let beyond = file["beyond"].as_array().unwrap();
    assert_eq!(beyond.len(), 9);
    let identity = Identity::generate().unwrap();
    for vector in beyond {
        let order: Order = exact::from_slice(text(&vector["bytes"]).as_bytes()).unwrap();
        let refused = order.sign(&identity).unwrap().verify();
        assert!(matches!(refused, Err(OrderError::Field(_))), "{}", vector["name"]);
    }
}

/// Vault keys, one after the other: `vectors/succession-v1.json`.
#[test]
fn successions() {
    let file: Value = serde_json::from_str(include_str!("vectors/succession-v1.json")).unwrap();
    let steps = |list: &Value| Succession::from_steps(list.as_array().unwrap().iter().map(text));
    let successions = file["successions"].as_array().unwrap();
    assert_eq!(successions.len(), 15);
    for vector in successions {
        let (name, succession) = (&vector["name"], steps(&vector["steps"]).unwrap());
        assert_eq!(succession.name(), text(&vector["uri"]), "{name}");
        let shown = Succession::shown_in(format!("..{}..", text(&vector["uri"])).as_bytes());
        assert_eq!(shown.as_ref(), Some(&succession), "{name}");
        let newest = succession.follow(&parse(&vector["pinned"])).map(|key| HEXLOWER.encode(key.as_bytes()));
        assert_eq!(newest.as_deref(), vector["newest"].as_str(), "{name}");
    }
    assert_eq!(steps(&file["too_many"]), None);
}

/// An export of a catalog, as far as it is read without its blobs: `vectors/escrow-v1.json`. The server's tests recover from it.
#[test]
fn escrow() {
    let file: Value = serde_json::from_str(include_str!("vectors/escrow-v1.json")).unwrap();
    let head: ExportHead = exact::from_slice(text(&file["catalog.json"]).as_bytes()).unwrap();
    assert_eq!(exact::to_vec(&head).unwrap(), text(&file["catalog.json"]).as_bytes());
    assert_eq!((&head.format[..], head.keys.len()), (escrow::FORMAT, 4));
    let rows = text(&file["objects.jsonl"]);
    let mut sum = Checksum::default();
    sum.update(rows.as_bytes());
    assert_eq!((sum.objects, sum.digest()), (head.objects, head.digest));

    let mut keys = HashMap::new();
    for vector in file["escrowed_keys"].as_array().unwrap() {
        let read = EscrowedKey::decode(&hex(&vector["plaintext"])).unwrap();
        assert_eq!(read.encode()[..], hex(&vector["plaintext"]));
        assert_eq!(read.key.expose(), &array(&vector["key"]));
        assert_eq!((read.vault, read.tenant), (head.ledger.vault(), head.ledger.tenant()));
        assert_eq!(vector["version"].as_u64(), Some(read.version.into()));
        keys.insert(read.version, read.key);
    }
    assert_eq!(escrow::versions(&head.keys), keys.keys().copied().collect());

    let lines: Vec<_> = rows.lines().collect();
    assert_eq!(lines.len(), 4);
    for line in lines {
        let object = ExportedObject::from_line(line.as_bytes()).unwrap();
        assert_eq!(object.line().unwrap().strip_suffix(b"\n").unwrap(), line.as_bytes());
        let (tuple, wrapped) = (object.tuple(head.ledger.tenant()), object.wrapped_root().unwrap());
        assert!(unwrap(&keys[&object.key_version], &tuple, &wrapped).is_ok(), "{}", object.path);
        let other = if object.key_version == 1 { 3 } else { 1 };
        assert!(unwrap(&keys[&other], &tuple, &wrapped).is_err(), "{}", object.path);
    }
}
