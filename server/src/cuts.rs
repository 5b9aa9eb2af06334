//! Cuts: a stream ends when something is taken away that it stood on.
//!
//! Ending streams is courtesy, not the guarantee: no key comes out after a revocation because every release is decided under
//! the ledger's lock. But ciphertext for keys that are out already should stop too, within a second.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

/// The two ends of a stream that can be cut: frames that wait unsent are dropped by the cut.
pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (frames, waiting) = mpsc::channel(capacity);
    let cut = Arc::new(OnceLock::new());
    (Sender { frames, cut: cut.clone() }, Receiver { waiting, cut, ended: false })
}

/// Where frames go in.
pub(crate) struct Sender<T> {
    frames: mpsc::Sender<Result<T, Status>>,
    cut: Arc<OnceLock<Status>>,
}

/// The reader is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl<T> Sender<T> {
    /// Sends a frame, once there is room.
    pub(crate) async fn send(&self, frame: T) -> Result<(), Gone> {
        self.frames.send(Ok(frame)).await.map_err(|_| Gone)
    }

    /// Ends the stream in order: what waits is sent first.
    pub(crate) async fn fail(self, status: Status) {
        // A reader that is gone does not need to know.
        let _ = self.frames.send(Err(status)).await;
    }

    /// Ends the stream at once: what waits is dropped.
    pub(crate) fn cut(self, status: Status) {
        // Dropping this end wakes the reader, who then finds the cut.
        let _ = self.cut.set(status);
    }
}

/// Where frames come out, as tonic pulls them.
pub(crate) struct Receiver<T> {
    waiting: mpsc::Receiver<Result<T, Status>>,
    cut: Arc<OnceLock<Status>>,
    ended: bool,
}

impl<T> Stream for Receiver<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = self.waiting.poll_recv(context);
        match self.cut.get() {
            Some(status) if !matches!(next, Poll::Pending) => {
                let status = status.clone();
                self.ended = true;
                Poll::Ready(Some(Err(status)))
            }
            _ => next,
        }
    }
}
