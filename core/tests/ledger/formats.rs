//! Exact bytes: every value has one spelling, and comes back out of it.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_core::call::{Call, Condition, DeleteItem, GetItem, PutItem, SignedCall, Work};
use strongroom_core::ed25519::VerifyingKey;
use strongroom_core::exact::{self, MAX_INTEGER};
use strongroom_core::grant::{Action, Holder, Limits, Part, Prefix, Scope, Terms};
use strongroom_core::identity::{Fingerprint, PublicKey, Signature};
use strongroom_core::ids::{
    CallDigest, Digest, Generation, GrantId, IncidentId, Index, Millis, NodeId, ObjectId, OrderId, PutId, RequestId,
    SessionId, TenantId, VaultId, VendorId,
};
use strongroom_core::ledger::tree::CompactRange;
use strongroom_core::ledger::{Actor, Entry, Event, Head, ObjectRef, Outcome, Private, PutFact, Role, Seen};
use strongroom_core::names::{DatasetName, ObjectPath, TenantName};
use strongroom_core::order::{Instruction, Order, OrderSignature, SignedOrder};
use strongroom_core::origin::Origin;
use strongroom_core::reason::Reason;
use strongroom_core::sealed::header::Header;
use strongroom_core::session::{Claims, Opening, SessionStatement, SignedOpening};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_u64, Just(MAX_INTEGER), 0..=MAX_INTEGER]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    any::<[u8; 32]>().prop_map(Fingerprint::from_bytes)
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), 64).prop_map(|bytes| Signature(bytes.try_into().unwrap()))
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    vec(any::<u8>(), 64).prop_map(|point| PublicKey::from_point(&[&[4], &point[..]].concat()).unwrap())
}

/// Words with everything that JSON escapes, or might.
fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,20}", any::<String>(), Just("\"\\/\u{8}\u{c}\n\r\t\0\u{7f}\u{2028}é日𝄞".to_owned())]
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[a-z0-9][a-z0-9._-]{0,62}".prop_map(|text| text.parse().unwrap())
}

fn path() -> impl Strategy<Value = ObjectPath> {
    let segment = prop_oneof!["[a-z\"\\\\*é日 ]{1,9}", Just("...".to_owned())];
    vec(segment, 1..4).prop_map(|segments| segments.join("/").parse().unwrap())
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let parse = |text: String| text.parse::<Prefix>().unwrap();
    prop_oneof![
        Just(Prefix::all()),
        path().prop_map(move |p| parse(format!("{p}/"))),
        path().prop_map(move |p| parse(format!("{p}*")))
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    ("[a-z0-9.-]{1,20}", any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(name, vault, tenant)| {
        Origin::new(&name, VaultId::from_bytes(vault), TenantId::from_bytes(tenant)).unwrap()
    })
}

fn holder() -> impl Strategy<Value = Holder> {
    prop_oneof![
        any::<[u8; 16]>().prop_map(|id| Holder::Vendor(VendorId::from_bytes(id))),
        fingerprint().prop_map(Holder::Key)
    ]
}

fn grant() -> impl Strategy<Value = GrantId> {
    any::<[u8; 16]>().prop_map(GrantId::from_bytes)
}

fn scope() -> impl Strategy<Value = Scope> {
    let part = prop_oneof![prefix().prop_map(Part::Prefix), digest().prop_map(Part::Snapshot)];
    (prop::sample::subsequence(Action::ALL.to_vec(), 1..=5), name(), part).prop_map(|(actions, dataset, part)| Scope {
        actions,
        dataset,
        part,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    (of(number()), of(number()), of(number()), of(number()), vec(words(), 0..3)).prop_map(
        |(bytes, objects, uses, bytes_per_minute, sources)| Limits { bytes, objects, uses, bytes_per_minute, sources },
    )
}

fn terms() -> impl Strategy<Value = Terms> {
    let times = (of(number()), number());
    (holder(), of(grant()), vec(scope(), 1..4), times, any::<bool>(), limits(), of(words())).prop_map(
        |(holder, parent, scopes, (not_before, expires), delegable, limits, purpose)| Terms {
            holder,
            parent,
            scopes,
            not_before: not_before.map(Millis),
            expires: Millis(expires),
            delegable,
            limits,
            purpose,
        },
    )
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let vendor = || any::<[u8; 16]>().prop_map(VendorId::from_bytes);
    let note = || of(words());
    prop_oneof![
        (name::<TenantName>(), vec(fingerprint(), 0..3))
            .prop_map(|(name, admins)| Instruction::CreateTenant { name, admins }),
        fingerprint().prop_map(|key| Instruction::AddAdmin { key }),
        fingerprint().prop_map(|key| Instruction::RemoveAdmin { key }),
        (name(), vec(fingerprint(), 0..3)).prop_map(|(name, keys)| Instruction::AddVendor { name, keys }),
        (vendor(), note()).prop_map(|(vendor, note)| Instruction::SuspendVendor { vendor, note }),
        (vendor(), note()).prop_map(|(vendor, note)| Instruction::ResumeVendor { vendor, note }),
        vendor().prop_map(|vendor| Instruction::RemoveVendor { vendor }),
        (vendor(), fingerprint()).prop_map(|(vendor, key)| Instruction::AddKey { vendor, key }),
        (vendor(), fingerprint()).prop_map(|(vendor, key)| Instruction::RevokeKey { vendor, key }),
        name::<DatasetName>().prop_map(|name| Instruction::CreateDataset { name }),
        name::<DatasetName>().prop_map(|name| Instruction::DeleteDataset { name }),
        (name(), note()).prop_map(|(name, note)| Instruction::FreezeDataset { name, note }),
        (name(), note()).prop_map(|(name, note)| Instruction::UnfreezeDataset { name, note }),
        note().prop_map(|note| Instruction::FreezeTenant { note }),
        note().prop_map(|note| Instruction::UnfreezeTenant { note }),
        (fingerprint(), note()).prop_map(|(key, note)| Instruction::BlockKey { key, note }),
        (fingerprint(), note()).prop_map(|(key, note)| Instruction::UnblockKey { key, note }),
        terms().prop_map(Instruction::IssueGrant),
        (grant(), note()).prop_map(|(grant, note)| Instruction::RevokeGrant { grant, note }),
        (vendor(), of(number().prop_map(Millis)), note()).prop_map(|(vendor, since, note)| Instruction::OpenIncident {
            vendor,
            since,
            note
        }),
        (incident(), note()).prop_map(|(incident, note)| Instruction::CloseIncident { incident, note }),
    ]
}

fn incident() -> impl Strategy<Value = IncidentId> {
    any::<[u8; 16]>().prop_map(IncidentId::from_bytes)
}

fn order() -> impl Strategy<Value = Order> {
    (origin(), any::<[u8; 16]>(), number(), instruction(), of(incident())).prop_map(
        |(ledger, request, not_after, instruction, incident)| {
            let request = RequestId::from_bytes(request);
            Order { ledger, request, not_after: Millis(not_after), instruction, incident }
        },
    )
}

fn signed_order() -> impl Strategy<Value = SignedOrder> {
    let signature = (public_key(), signature()).prop_map(|(key, signature)| OrderSignature { key, signature });
    (order(), vec(signature, 0..3)).prop_map(|(order, signatures)| SignedOrder { order, signatures })
}

fn work() -> impl Strategy<Value = Work> {
    let generation = || of(number().prop_map(Generation));
    let get = move || {
        let id = of(any::<[u8; 16]>().prop_map(ObjectId::from_bytes));
        let item = (name(), of(path()), generation(), of((number(), number())), id);
        let item =
            item.prop_map(|(dataset, path, generation, range, id)| GetItem { dataset, path, generation, range, id });
        vec(item, 0..3)
    };
    let condition = prop_oneof![
        Just(Condition::Any),
        Just(Condition::Absent),
        number().prop_map(|generation| Condition::Generation(Generation(generation)))
    ];
    let put = (any::<[u8; 16]>(), name(), path(), condition, any::<[u8; 16]>(), number(), digest()).prop_map(
        |(put, dataset, path, condition, object, size, content_root)| PutItem {
            put: PutId::from_bytes(put),
            dataset,
            path,
            condition,
            header: Header::new(ObjectId::from_bytes(object)),
            size,
            content_root,
        },
    );
    let delete =
        (name(), path(), generation()).prop_map(|(dataset, path, generation)| DeleteItem { dataset, path, generation });
    prop_oneof![
        get().prop_map(Work::Get),
        get().prop_map(Work::ReleaseKeys),
        vec(put, 0..3).prop_map(Work::Put),
        vec(delete, 0..3).prop_map(Work::Delete)
    ]
}

fn call() -> impl Strategy<Value = Call> {
    (any::<[u8; 16]>(), of(grant()), work(), of(incident())).prop_map(|(request, grant, work, incident)| Call {
        request: RequestId::from_bytes(request),
        grant,
        work,
        incident,
    })
}

fn opening() -> impl Strategy<Value = Opening> {
    (words(), any::<[u8; 32]>(), name(), fingerprint(), digest()).prop_map(
        |(recipient, call_key, tenant, vault_key, exporter)| Opening {
            recipient,
            call_key: VerifyingKey::from_bytes(call_key),
            tenant,
            vault_key,
            exporter,
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let role = prop_oneof![
        Just(Role::Operator),
        Just(Role::Admin),
        Just(Role::Key),
        any::<[u8; 16]>().prop_map(|id| Role::Vendor(VendorId::from_bytes(id)))
    ];
    let place = (number(), number(), prop::sample::select(&Event::ALL[..]), role, fingerprint());
    let names = (of(any::<[u8; 32]>()), of(any::<[u8; 32]>()), of(any::<[u8; 32]>()), vec(grant(), 0..9));
    let outcome = (any::<bool>(), of(prop::sample::select(Reason::ALL)), number());
    let put = (any::<u32>(), number(), number(), digest()).prop_map(|(a, b, c, d)| PutFact(a, Generation(b), c, d));
    let object = (any::<u32>(), number(), any::<u32>(), any::<u32>(), any::<u32>(), number())
        .prop_map(|(a, b, c, d, e, f)| ObjectRef(a, Index(b), c, d, e, f));
    let rest = (vec(put, 0..4), vec(object, 0..4), of(any::<[u8; 16]>()), any::<[u8; 16]>(), digest());
    (place, names, outcome, rest).prop_map(
        |(
            (index, time, event, role, key),
            (session, call, order, grants),
            (done, reason, count),
            (puts, objects, request, node, private),
        )| Entry {
            index: Index(index),
            time: Millis(time),
            event,
            actor: Actor { role, key },
            session: session.map(SessionId::from_bytes),
            call: call.map(CallDigest::from_bytes),
            order: order.map(OrderId::from_bytes),
            grants,
            outcome: if done { Outcome::Done } else { Outcome::Denied },
            reason,
            count,
            puts,
            objects,
            request: request.map(RequestId::from_bytes),
            node: NodeId::from_bytes(node),
            private,
            log_key: None,
        },
    )
}

fn private() -> impl Strategy<Value = Private> {
    let claims = (words(), words(), words()).prop_map(|(sdk, host, job)| Claims { sdk, host, job });
    let opening = (opening(), public_key(), signature()).prop_map(|(opening, key, signature)| SignedOpening {
        opening,
        key,
        signature,
    });
    let call = (call(), signature()).prop_map(|(call, signature)| SignedCall { call, signature });
    (words(), of(words()), of(claims), of(opening), of(signed_order()), of(call), of(words()), of(incident())).prop_map(
        |(salt, source, claims, opening, order, call, detail, incident)| Private {
            salt,
            source,
            claims,
            opening,
            order,
            call,
            detail,
            incident,
        },
    )
}

/// Comes back out of its bytes; and those bytes with one inserted, dropped or changed are no second spelling of it.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: &T,
    at: &prop::sample::Index,
    byte: u8,
) -> Result<(), TestCaseError> {
    let bytes = exact::to_vec(value).unwrap();
    prop_assert_eq!(&exact::from_slice::<T>(&bytes).unwrap(), value);
    let at = at.index(bytes.len());
    let mut inserted = bytes.clone();
    inserted.insert(at, byte);
    let mut dropped = bytes.clone();
    dropped.remove(at);
    let mut changed = bytes.clone();
    changed[at] ^= byte | 1;
    let spaced = [&bytes[..], b" "].concat();
    for other in [inserted, dropped, changed, spaced] {
        if let Ok(read) = exact::from_slice::<T>(&other) {
            prop_assert!(read != *value && exact::to_vec(&read).unwrap() == other);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn orders(order in signed_order(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        round_trip(&order, &at, byte)?;
        round_trip(&order.order, &at, byte)?;
    }

    #[test]
    fn calls(call in call(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        round_trip(&call, &at, byte)?;
    }

    #[test]
    fn openings(opening in opening(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        round_trip(&opening, &at, byte)?;
    }

    #[test]
    fn statements(ledger in origin(), (session, size) in (any::<[u8; 32]>(), number()), (tip, message) in (digest(), digest()), at in any::<prop::sample::Index>()) {
        let session = SessionId::from_bytes(session);
        round_trip(&SessionStatement { session, ledger, size: Index(size), tip, message }, &at, b' ')?;
        round_trip(&Seen { size: Index(size), tip, mac: message }, &at, b' ')?;
    }

    #[test]
    fn entries(entry in entry(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        round_trip(&entry, &at, byte)?;
        let bytes = entry.bytes().unwrap();
        prop_assert_eq!(Entry::from_bytes(&bytes).unwrap(), entry);
    }

    #[test]
    fn private_parts(private in private(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        round_trip(&private, &at, byte)?;
        prop_assert_eq!(Private::from_bytes(&private.bytes().unwrap()).unwrap(), private);
    }

    #[test]
    fn integers_end_at_two_to_the_53(entry in entry(), number in MAX_INTEGER + 1..) {
        let over = [
            Entry { index: Index(number), ..entry.clone() },
            Entry { time: Millis(number), ..entry.clone() },
            Entry { count: number, ..entry.clone() },
            Entry { objects: vec![ObjectRef(0, Index(0), 0, 0, 1, number)], ..entry.clone() },
            Entry { puts: vec![PutFact(0, Generation(number), 0, entry.private)], ..entry },
        ];
        for entry in over {
            prop_assert!(entry.bytes().is_err());
            prop_assert!(Entry::from_bytes(&serde_json::to_vec(&entry).unwrap()).is_err());
        }
    }

    #[test]
    fn heads(size in 0..=MAX_INTEGER, (time, epoch, hides) in any::<(u64, u64, u64)>(), tip in any::<[u8; 32]>(), seed in digest(), more in 1..40_usize) {
        let roots = vec![seed; size.count_ones() as usize];
        let range = CompactRange::from_roots(size, roots.clone()).unwrap();
        let head = Head { range, authority_tip: tip, time: Millis(time), epoch, hides };
        let bytes = head.canonical_bytes();
        prop_assert_eq!(bytes.len(), 64 + 32 * roots.len());
        prop_assert_eq!(Head::from_canonical_bytes(&bytes), Some(head));
        prop_assert_eq!(Head::from_canonical_bytes(&[&bytes[..], &vec![0; more]].concat()), None);
        prop_assert_eq!(Head::from_canonical_bytes(&bytes[..bytes.len() - more]), None);
        // Another size has, mostly, another number of roots; where it has the same, it is another head.
        let mut other = bytes.clone();
        other[7] ^= 1;
        prop_assert_eq!(Head::from_canonical_bytes(&other), None);
    }
}
