//! Work that takes a while, beside everything else.

use strongroom_core::keys::secret::scrubbed;
use tokio::sync::oneshot;

/// Does something in a thread of its own, of this name: deriving a key from a passphrase takes a second of a core, and a plugin waits for
/// a touch, or for ever. None of the runtime's, which waits for those at its end. What it left of keys on its stack is overwritten.
///
/// # Errors
/// In words, if no thread is to be had, or it failed.
pub(super) async fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (done, doing) = oneshot::channel();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Who waits no longer needs no answer.
        let _ = done.send(scrubbed(work));
    });
    spawned.map_err(|error| format!("no thread {name}: {error}"))?;
    doing.await.map_err(|_| format!("the thread {name} failed"))
}
