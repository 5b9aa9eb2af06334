//! The threads that seal and open: apart from those that carry bytes, and no more of them than were allowed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};

use crate::error::{Error, Result};

/// How many jobs may run at once, over all calls of a vault.
#[derive(Clone)]
pub(crate) struct Workers {
    permits: Arc<Semaphore>,
    threads: usize,
}

/// A thread that is free for a job.
pub(crate) struct Worker(OwnedSemaphorePermit);

impl Workers {
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, 1024);
        Self { permits: Arc::new(Semaphore::new(threads)), threads }
    }

    /// How many jobs one call may have under way: enough that no thread waits for the call to come back.
    pub(crate) fn depth(&self) -> usize {
        2 * self.threads
    }

    /// Waits for a free thread. Nothing is lost if the wait is dropped.
    pub(crate) async fn free(&self) -> Result<Worker> {
        let permit = self.permits.clone().acquire_owned().await;
        permit.map(Worker).map_err(|_| Error::internal("the workers are gone"))
    }

    /// Runs a job to its end.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        finished(self.free().await?.start(job).await)
    }
}

impl Worker {
    /// Starts a job. Whoever awaits handles in order has the results in order.
    pub(crate) fn start<T: Send + 'static>(self, job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        tokio::task::spawn_blocking(move || {
            let done = job();
            drop(self.0);
            done
        })
    }
}

/// What a job gave, if it came to its end.
pub(crate) fn finished<T>(joined: Result<T, JoinError>) -> Result<T> {
    joined.map_err(|_| Error::internal("a worker did not come to its end"))
}
