//! The root keys of a vault: one, or two while one gives way to the other.
//!
//! What is wrapped says by which, so that rows of both may stand side by side and each opens:
//!
//! ```text
//! wrapped row = "SRW1" ‖ SHA-256("strongroom/v1/root-tag" ‖ the root key's id)[..8] ‖ what the provider made
//! ```
//!
//! Rows from before that was written have no such beginning, and are the oldest root key's. It is a signpost and no proof: a row
//! that is sent to the wrong root key does not open.

use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use ring::digest::{SHA256, digest};
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::RootTuple;

use super::RootKey;
use crate::keys::KeyError;

/// What stands before a wrapped row.
pub(crate) const SIGNPOST: usize = 12;
const MAGIC: &[u8; 4] = b"SRW1";

/// The signpost to the root key of this id.
pub(crate) fn signpost(id: &str) -> [u8; SIGNPOST] {
    let tag = digest(&SHA256, &[b"strongroom/v1/root-tag", id.as_bytes()].concat());
    let mut signpost = [0; SIGNPOST];
    signpost[..4].copy_from_slice(MAGIC);
    signpost[4..].copy_from_slice(&tag.as_ref()[..SIGNPOST - 4]);
    signpost
}

/// What a provider made, without the signpost before it, if there is one.
pub fn without_signpost(wrapped: &[u8]) -> &[u8] {
    if wrapped.starts_with(MAGIC) { wrapped.get(SIGNPOST..).unwrap_or_default() } else { wrapped }
}

/// The root keys, the newest first: one of them wraps, any of them unwraps.
pub(crate) struct Roots(RwLock<Ring>);

#[derive(Clone)]
struct Ring {
    keys: Arc<[Arc<dyn RootKey>]>,
    /// Which one wraps.
    wraps: usize,
}

impl Roots {
    /// The newest, and an older one if that still wraps.
    pub(crate) fn new(newest: Arc<dyn RootKey>, older: Option<Arc<dyn RootKey>>) -> Self {
        let keys: Arc<[_]> = std::iter::once(newest).chain(older).collect();
        Self(RwLock::new(Ring { wraps: keys.len() - 1, keys }))
    }

    /// The newest.
    pub(crate) fn newest(&self) -> Arc<dyn RootKey> {
        self.ring().keys[0].clone()
    }

    /// The one that wraps.
    pub(crate) fn wraps(&self) -> Arc<dyn RootKey> {
        let Ring { keys, wraps } = self.ring();
        keys[wraps].clone()
    }

    /// The one of this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<dyn RootKey>> {
        self.ring().keys.iter().find(|root| root.id() == id).cloned()
    }

    /// One more, which unwraps for now.
    pub(crate) fn add(&self, newest: Arc<dyn RootKey>) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let keys = std::iter::once(newest).chain(ring.keys.iter().cloned()).collect();
        *ring = Ring { keys, wraps: ring.wraps + 1 };
    }

    /// From now on the one of this id wraps, if it is still there.
    pub(crate) fn switch(&self, id: &str) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = ring.keys.iter().position(|root| root.id() == id) {
            ring.wraps = place;
        }
    }

    /// Lets go of all but the newest.
    pub(crate) fn retire(&self) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *ring = Ring { keys: ring.keys.iter().take(1).cloned().collect(), wraps: 0 };
    }

    fn ring(&self) -> Ring {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RootKey for Roots {
    fn id(&self) -> String {
        self.wraps().id()
    }

    fn wrap<'a>(&'a self, place: &'a RootTuple<'a>, secret: &'a Key) -> BoxFuture<'a, Result<Vec<u8>, KeyError>> {
        Box::pin(async move {
            let root = self.wraps();
            let wrapped = root.wrap(place, secret).await?;
            Ok([&signpost(&root.id())[..], &wrapped].concat())
        })
    }

    fn unwrap<'a>(&'a self, place: &'a RootTuple<'a>, wrapped: &'a [u8]) -> BoxFuture<'a, Result<Box<Key>, KeyError>> {
        Box::pin(async move {
            let roots = self.ring().keys;
            if !wrapped.starts_with(MAGIC) {
                // The oldest.
                return roots[roots.len() - 1].unwrap(place, wrapped).await;
            }
            let fits = |root: &&Arc<dyn RootKey>| wrapped.starts_with(&signpost(&root.id()));
            let root = roots.iter().find(fits).ok_or_else(|| {
                let have: Vec<_> = roots.iter().map(|root| root.id()).collect();
                KeyError::Root(format!(
                    "a row is wrapped by another root key than this node's ({}): was it rotated on another node?",
                    have.join(", ")
                ))
            })?;
            root.unwrap(place, &wrapped[SIGNPOST..]).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root::file::{FileRootKey, SealWith};
    use crate::keys::root::suite::place;

    fn fresh() -> Arc<dyn RootKey> {
        Arc::new(FileRootKey::create(SealWith::FreshIdentity).unwrap().root)
    }

    #[tokio::test]
    async fn rows_of_both_open_until_one_is_retired() {
        let (first, second) = (fresh(), fresh());
        let secret = Key::random().unwrap();
        let bare = first.wrap(&place("acme"), &secret).await.unwrap();
        let roots = Roots::new(first.clone(), None);
        let old = roots.wrap(&place("acme"), &secret).await.unwrap();
        assert!(old.starts_with(&signpost(&first.id())) && without_signpost(&old).len() == bare.len());
        roots.add(second.clone());
        assert!(roots.id() == first.id() && roots.newest().id() == second.id());
        roots.switch(&second.id());
        let new = roots.wrap(&place("acme"), &secret).await.unwrap();
        assert!(new.starts_with(&signpost(&second.id())) && roots.id() == second.id());
        for wrapped in [&bare, &old, &new] {
            assert!(roots.unwrap(&place("acme"), wrapped).await.unwrap().expose() == secret.expose());
            assert!(matches!(roots.unwrap(&place("other"), wrapped).await.map(drop), Err(KeyError::Unwrap(_))));
        }
        // A signpost turned round leads nowhere.
        let turned = [&signpost(&second.id())[..], without_signpost(&old)].concat();
        assert!(matches!(roots.unwrap(&place("acme"), &turned).await.map(drop), Err(KeyError::Unwrap(_))));
        roots.retire();
        assert!(roots.unwrap(&place("acme"), &new).await.is_ok());
        assert!(
            matches!(roots.unwrap(&place("acme"), &old).await.map(drop), Err(KeyError::Root(why)) if why.contains("another root key"))
        );
    }
}
