//! Keys through the public API: what is sealed for one place opens there and nowhere else.

use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::ids::{
    CallDigest, DatasetId, Digest, Generation, ObjectId, SegmentRange, SessionId, TenantId, VaultId,
};
use strongroom_core::keys::parcel::{
    Binding, KeyParcel, MAX_OBJECTS, ParcelError, ParcelObject, SessionSecret, open_upload_keys, seal_upload_keys,
};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{
    Purpose, RootTuple, WrapTuple, Wrapped, unwrap, unwrap_under_root, wrap, wrap_under_root,
};
use strongroom_core::sealed::header::Header;
use strongroom_core::sealed::layout::Layout;
use strongroom_core::sealed::tree::{CoverKeys, ObjectRoot};

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn row() -> WrapTuple<'static> {
    WrapTuple {
        tenant: TenantId::from_bytes([1; 16]),
        key_version: 1,
        dataset: DatasetId::from_bytes([2; 16]),
        dataset_name: "rlhf",
        path: "math/000007.json",
        header: Header::new(ObjectId::from_bytes([3; 16])),
        size: 312,
        content_root: Digest::from_bytes([4; 32]),
    }
}

#[test]
fn a_wrapped_root_opens_for_its_row_and_for_no_other() {
    let root = ObjectRoot::from_key(key(7));
    let wrapped = wrap(&key(9), &row(), &root).unwrap();
    assert_eq!(unwrap(&key(9), &row(), &wrapped).ok().unwrap().key().expose(), root.key().expose());
    assert!(unwrap(&key(8), &row(), &wrapped).is_err());

    let others = [
        WrapTuple { tenant: TenantId::from_bytes([9; 16]), ..row() },
        WrapTuple { key_version: 2, ..row() },
        WrapTuple { dataset: DatasetId::from_bytes([9; 16]), ..row() },
        WrapTuple { dataset_name: "rlhg", ..row() },
        WrapTuple { path: "math/000008.json", ..row() },
        WrapTuple { header: Header::new(ObjectId::from_bytes([9; 16])), ..row() },
        WrapTuple { size: 313, ..row() },
        WrapTuple { content_root: Digest::from_bytes([9; 32]), ..row() },
        // The same letters, parted elsewhere.
        WrapTuple { dataset_name: "rlh", path: "fmath/000007.json", ..row() },
        WrapTuple { dataset_name: "rlhfmath/000007.json", path: "", ..row() },
    ];
    for other in others {
        assert!(unwrap(&key(9), &other, &wrapped).is_err(), "{other:?}");
    }
}

#[test]
fn a_secret_under_the_root_key_opens_in_its_place_and_in_no_other() {
    let tenant = TenantId::from_bytes([1; 16]);
    let place = RootTuple {
        purpose: Purpose::LedgerKey,
        vault: VaultId::from_bytes([5; 16]),
        tenant: Some((tenant, "acme")),
        version: 1,
    };
    let wrapped = wrap_under_root(&key(9), &place, &key(7)).unwrap();
    assert_eq!(unwrap_under_root(&key(9), &place, &wrapped).ok().unwrap().expose(), key(7).expose());
    assert!(unwrap_under_root(&key(8), &place, &wrapped).is_err());

    let others = [
        RootTuple { purpose: Purpose::TenantKey, ..place },
        RootTuple { purpose: Purpose::LogKey, ..place },
        RootTuple { purpose: Purpose::VaultKey, ..place },
        RootTuple { vault: VaultId::from_bytes([6; 16]), ..place },
        RootTuple { tenant: Some((TenantId::from_bytes([2; 16]), "acme")), ..place },
        RootTuple { tenant: Some((tenant, "acmf")), ..place },
        RootTuple { tenant: Some((tenant, "")), ..place },
        RootTuple { tenant: None, ..place },
        RootTuple { version: 2, ..place },
    ];
    for other in others {
        assert!(unwrap_under_root(&key(9), &other, &wrapped).is_err(), "{other:?}");
    }
}

#[test]
fn one_key_wraps_for_tenants_and_for_the_root_apart() {
    // Even if one key served as both, neither would open the other's.
    let place = RootTuple {
        purpose: Purpose::TenantKey,
        vault: VaultId::from_bytes(*row().header.object_id().as_bytes()),
        tenant: None,
        version: 1,
    };
    let wrapped = wrap(&key(9), &row(), &ObjectRoot::from_key(key(7))).unwrap();
    assert!(unwrap_under_root(&key(9), &place, &wrapped).is_err());
}

#[test]
fn a_wrapped_key_has_60_bytes_and_none_may_change() {
    let wrapped = wrap(&key(9), &row(), &ObjectRoot::from_key(key(7))).unwrap();
    for bit in 0..8 * Wrapped::LEN {
        let mut bytes = *wrapped.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(unwrap(&key(9), &row(), &Wrapped::from_bytes(bytes)).is_err());
    }
    assert_eq!(Wrapped::try_from(&wrapped.as_bytes()[..]), Ok(wrapped));
    assert!(Wrapped::try_from(&wrapped.as_bytes()[1..]).is_err());
    assert!(Wrapped::try_from(&[&wrapped.as_bytes()[..], &[0]].concat()[..]).is_err());
    assert!(wrap(&key(9), &row(), &ObjectRoot::from_key(key(7))).unwrap() != wrapped, "nonces are fresh");
}

fn secret(byte: u8) -> SessionSecret {
    SessionSecret::from_bytes([byte; 32])
}

fn binding() -> Binding {
    Binding { session: SessionId::from_bytes([1; 32]), call: CallDigest::from_bytes([2; 32]), index: 77 }
}

fn object(item: u32, size: u64, range: SegmentRange) -> ParcelObject {
    let header = Header::new(ObjectId::from_bytes([item as u8; 16]));
    ParcelObject {
        item,
        path: format!("math/{item}.json"),
        generation: Generation(u64::from(item) + 1),
        size,
        header,
        content_root: Digest::from_bytes([item as u8; 32]),
        keys: CoverKeys::derive(&ObjectRoot::derive(&key(item as u8), &header), range),
    }
}

fn small(item: u32) -> ParcelObject {
    object(item, 312, SegmentRange::new(0, 1).unwrap())
}

fn assert_same(a: &ParcelObject, b: &ParcelObject) {
    assert_eq!(
        (a.item, &a.path, a.generation, a.size, a.header, a.content_root, a.keys.range()),
        (b.item, &b.path, b.generation, b.size, b.header, b.content_root, b.keys.range()),
    );
    assert!(a.keys.nodes().map(Key::expose).eq(b.keys.nodes().map(Key::expose)));
}

#[test]
fn a_parcel_opens_for_its_call_and_for_no_other() {
    let sealed = KeyParcel { objects: vec![small(0)] }.seal(&secret(5), &binding()).unwrap();
    assert_same(&KeyParcel::open(&secret(5), &binding(), &sealed).ok().unwrap().objects[0], &small(0));

    let others = [
        Binding { session: SessionId::from_bytes([9; 32]), ..binding() },
        Binding { call: CallDigest::from_bytes([9; 32]), ..binding() },
        Binding { index: 78, ..binding() },
    ];
    for other in others {
        assert_eq!(KeyParcel::open(&secret(5), &other, &sealed).err(), Some(ParcelError::Sealed), "{other:?}");
    }
    assert_eq!(KeyParcel::open(&secret(6), &binding(), &sealed).err(), Some(ParcelError::Sealed));
}

#[test]
fn a_changed_or_cut_parcel_does_not_open() {
    let sealed = KeyParcel { objects: vec![small(0)] }.seal(&secret(5), &binding()).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(KeyParcel::open(&secret(5), &binding(), &changed).err(), Some(ParcelError::Sealed));
        assert_eq!(KeyParcel::open(&secret(5), &binding(), &sealed[..at]).err(), Some(ParcelError::Sealed));
    }
    assert!(KeyParcel::open(&secret(5), &binding(), &[&sealed[..], &[0]].concat()).is_err());
}

#[test]
fn a_message_longer_than_any_parcel_is_not_looked_at() {
    let longest = vec![0; 32 << 20];
    assert_eq!(KeyParcel::open(&secret(5), &binding(), &longest).err(), Some(ParcelError::Length));
}

#[test]
fn a_parcel_holds_1024_windows() {
    let size = 2_000 * 65_536;
    let objects = (0..MAX_OBJECTS as u32).map(|item| object(item, size, SegmentRange::new(1, 1023).unwrap())).collect();
    let sealed = KeyParcel { objects }.seal(&secret(5), &binding()).unwrap();
    let opened = KeyParcel::open(&secret(5), &binding(), &sealed).ok().unwrap();
    assert_eq!(opened.objects.len(), MAX_OBJECTS);
    assert_same(&opened.objects[1023], &object(1023, size, SegmentRange::new(1, 1023).unwrap()));
}

#[test]
fn what_no_reader_would_accept_is_not_sealed() {
    let seal = |objects| KeyParcel { objects }.seal(&secret(5), &binding()).err();
    let range = |start, end| SegmentRange::new(start, end).unwrap();
    assert_eq!(seal(vec![]), Some(ParcelError::Count));
    assert_eq!(seal((0..1025).map(small).collect()), Some(ParcelError::Count));
    assert_eq!(seal(vec![small(3), small(3)]), Some(ParcelError::Order { item: 3 }));
    assert_eq!(seal(vec![small(3), small(2)]), Some(ParcelError::Order { item: 2 }));
    assert_eq!(seal(vec![object(1, 65_536, range(0, 2))]), Some(ParcelError::Range { item: 1 }));
    assert_eq!(seal(vec![object(1, 1 << 30, range(1023, 1025))]), Some(ParcelError::Range { item: 1 }));
    assert!(matches!(seal(vec![object(1, u64::MAX, range(0, 1))]), Some(ParcelError::Layout(_))));
    let path = |path: String| ParcelObject { path, ..small(1) };
    assert_eq!(seal(vec![path(String::new())]), Some(ParcelError::Path { item: 1 }));
    assert_eq!(seal(vec![path("x".repeat(1025))]), Some(ParcelError::Path { item: 1 }));
    assert_eq!(seal(vec![path("x".repeat(1024))]), None);
}

#[test]
fn upload_keys_open_for_their_call_and_count_and_for_no_other() {
    let (session, call) = (binding().session, binding().call);
    let keys = [key(1), key(2), key(3)];
    let sealed = seal_upload_keys(&secret(5), &session, &call, &keys).unwrap();
    let open = |secret: &SessionSecret, session, call, expected, sealed: &[u8]| {
        open_upload_keys(secret, &session, &call, expected, sealed)
    };
    let opened = open(&secret(5), session, call, 3, &sealed).ok().unwrap();
    assert!(opened.iter().map(Key::expose).eq(keys.iter().map(Key::expose)));

    assert_eq!(open(&secret(6), session, call, 3, &sealed).err(), Some(ParcelError::Sealed));
    let other = SessionId::from_bytes([9; 32]);
    assert_eq!(open(&secret(5), other, call, 3, &sealed).err(), Some(ParcelError::Sealed));
    let other = CallDigest::from_bytes([9; 32]);
    assert_eq!(open(&secret(5), session, other, 3, &sealed).err(), Some(ParcelError::Sealed));
    for expected in [1, 2, 4, 1024] {
        assert_eq!(open(&secret(5), session, call, expected, &sealed).err(), Some(ParcelError::Length));
    }
    for expected in [0, 1025, usize::MAX] {
        assert_eq!(open(&secret(5), session, call, expected, &sealed).err(), Some(ParcelError::Count));
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(open(&secret(5), session, call, 3, &changed).err(), Some(ParcelError::Sealed));
    }
    assert_eq!(seal_upload_keys(&secret(5), &session, &call, &[]), Err(ParcelError::Count));
}

#[test]
fn upload_keys_are_no_parcel() {
    let binding = Binding { index: 0, ..binding() };
    let sealed = seal_upload_keys(&secret(5), &binding.session, &binding.call, &[key(1)]).unwrap();
    assert_eq!(KeyParcel::open(&secret(5), &binding, &sealed).err(), Some(ParcelError::Sealed));
}

/// An object of up to some windows, and a range within one of them.
fn any_object() -> impl Strategy<Value = (u64, SegmentRange, String, u64)> {
    (0u64..5_000 * 65_536, any::<(u32, u32, u32)>(), "[a-zé日/]{1,40}", any::<u64>()).prop_map(
        |(size, (window, a, b), path, generation)| {
            let layout = Layout::new(size).unwrap();
            let window = layout.window(window % layout.windows());
            let (a, b) = (a % window.count(), b % window.count());
            let range = SegmentRange::new(window.start() + a.min(b), window.start() + a.max(b) + 1).unwrap();
            (size, range, path, generation)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_parcel_comes_back_as_it_was(objects in vec(any_object(), 1..20), gap in 1u32..50, index: u64) {
        let parcel = || KeyParcel {
            objects: (0u32..)
                .zip(&objects)
                .map(|(i, (size, range, path, generation))| ParcelObject {
                    path: path.clone(),
                    generation: Generation(*generation),
                    ..object(i * gap, *size, *range)
                })
                .collect(),
        };
        let binding = Binding { index, ..binding() };
        let sealed = parcel().seal(&secret(5), &binding).unwrap();
        let opened = KeyParcel::open(&secret(5), &binding, &sealed).ok().unwrap();
        prop_assert_eq!(opened.objects.len(), objects.len());
        for (opened, sealed) in opened.objects.iter().zip(&parcel().objects) {
            assert_same(opened, sealed);
        }
    }

    #[test]
    fn any_row_opens_its_own(
        name in "[a-z0-9][a-z0-9._-]{0,62}", path in ".{1,200}", size: u64, version: u32,
    ) {
        let row = WrapTuple { dataset_name: &name, path: &path, size, key_version: version, ..row() };
        let wrapped = wrap(&key(9), &row, &ObjectRoot::from_key(key(7))).unwrap();
        let root = unwrap(&key(9), &row, &wrapped).ok().unwrap();
        prop_assert_eq!(root.key().expose(), &[7; 32]);
    }
}
