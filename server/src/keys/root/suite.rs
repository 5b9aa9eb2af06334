//! What every provider of a root key does and refuses.

use std::sync::Arc;

use strongroom_core::ids::{TenantId, VaultId};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple};

use super::RootKey;
use crate::keys::KeyError;

/// A place for a secret of this name's tenant.
pub(super) fn place(name: &str) -> RootTuple<'_> {
    let tenant = Some((TenantId::from_bytes([2; 16]), name));
    RootTuple { purpose: Purpose::TenantKey, vault: VaultId::from_bytes([1; 16]), tenant, version: 1 }
}

/// Makes a test of each case. `$open` is an async function: a root key, opened anew each time that it is called; `None` where the case runs
/// in a process of its own instead.
macro_rules! root_key_suite {
    ($open:path) => {
        root_key_suite!(@ $open, opens_what_it_wrapped, opens_it_nowhere_else, refuses_what_was_changed, wraps_anew_each_time, goes_on_after_a_refusal, serves_many_at_once);
    };
    (@ $open:path, $($case:ident),+) => {
        mod suite {
            $(#[tokio::test]
            async fn $case() {
                let Some(root) = $open().await else { return };
                let again = $open().await.expect("the same again");
                $crate::keys::root::suite::$case(root, again).await;
            })+
        }
    };
}
pub(crate) use root_key_suite;

pub(super) async fn opens_what_it_wrapped(root: Arc<dyn RootKey>, again: Arc<dyn RootKey>) {
    assert_eq!(root.id(), again.id());
    let vault = RootTuple { purpose: Purpose::VaultKey, tenant: None, ..place("") };
    for place in [place("acme"), RootTuple { version: 7, ..place("a.b-c") }, vault] {
        let secret = Key::random().unwrap();
        let wrapped = root.wrap(&place, &secret).await.unwrap();
        assert!(!wrapped.windows(8).any(|piece| piece == &secret.expose()[..8]));
        assert!(again.unwrap(&place, &wrapped).await.unwrap().expose() == secret.expose());
    }
}

pub(super) async fn opens_it_nowhere_else(root: Arc<dyn RootKey>, _: Arc<dyn RootKey>) {
    let here = place("acme");
    let wrapped = root.wrap(&here, &Key::random().unwrap()).await.unwrap();
    let elsewhere = [
        place("other"),
        RootTuple { tenant: Some((TenantId::from_bytes([3; 16]), "acme")), ..here },
        RootTuple { tenant: None, ..here },
        RootTuple { version: 2, ..here },
        RootTuple { vault: VaultId::from_bytes([9; 16]), ..here },
        RootTuple { purpose: Purpose::LedgerKey, ..here },
    ];
    for place in elsewhere {
        let refused = root.unwrap(&place, &wrapped).await.map(drop);
        assert!(matches!(refused, Err(KeyError::Unwrap(_))), "{place:?}: {refused:?}");
    }
}

pub(super) async fn refuses_what_was_changed(root: Arc<dyn RootKey>, _: Arc<dyn RootKey>) {
    let wrapped = root.wrap(&place("acme"), &Key::random().unwrap()).await.unwrap();
    let flipped = |at: usize| {
        let mut bytes = wrapped.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut bad = vec![Vec::new(), wrapped[..1].to_vec(), wrapped[..wrapped.len() - 1].to_vec(), vec![0; 60]];
    // Not at the beginning: there a keeper may say which of its keys it was, and has a word of its own for another.
    bad.extend([wrapped.len() / 2, wrapped.len() * 2 / 3, wrapped.len() - 1].map(flipped));
    bad.push([&wrapped[..], &[0; 70_000]].concat());
    for bytes in bad {
        let refused = root.unwrap(&place("acme"), &bytes).await.map(drop);
        assert!(matches!(refused, Err(KeyError::Unwrap(_))), "{} bytes: {refused:?}", bytes.len());
    }
}

pub(super) async fn wraps_anew_each_time(root: Arc<dyn RootKey>, _: Arc<dyn RootKey>) {
    let secret = Key::random().unwrap();
    let one = root.wrap(&place("acme"), &secret).await.unwrap();
    assert_ne!(one, root.wrap(&place("acme"), &secret).await.unwrap());
}

pub(super) async fn goes_on_after_a_refusal(root: Arc<dyn RootKey>, again: Arc<dyn RootKey>) {
    for root in [root, again] {
        assert!(matches!(root.unwrap(&place("acme"), &[7; 60]).await.map(drop), Err(KeyError::Unwrap(_))));
        let secret = Key::random().unwrap();
        let wrapped = root.wrap(&place("acme"), &secret).await.unwrap();
        assert!(root.unwrap(&place("acme"), &wrapped).await.unwrap().expose() == secret.expose());
    }
}

pub(super) async fn serves_many_at_once(root: Arc<dyn RootKey>, _: Arc<dyn RootKey>) {
    let work = (0..16_u32).map(|version| {
        let root = root.clone();
        async move {
            let place = RootTuple { version, ..place("acme") };
            let secret = Key::random().unwrap();
            let wrapped = root.wrap(&place, &secret).await.unwrap();
            assert!(root.unwrap(&place, &wrapped).await.unwrap().expose() == secret.expose());
        }
    });
    futures::future::join_all(work).await;
}
