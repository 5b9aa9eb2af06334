//! The datasets, read and looked through: one thread moves the bytes, all cores look.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use strongroom_client::{
    Body, Failed, Fetched, GetOptions, ListOptions, Listed, ObjectInfo, PrefixName, Reader, Vault,
};
use strongroom_core::audit::matching::{Cutter, Find, Job, Sample};
use tokio::task::JoinHandle;

use super::found::Found;
use crate::exit::{Failure, Outcome};
use crate::globals::Globals;
use crate::progress::Progress;

/// Small objects are looked through together, in about so many bytes.
const BATCH: usize = 1 << 20;

/// Looks for the sample in all objects under the names, as they are now.
///
/// # Errors
/// They cannot be listed, or none can be read.
pub(super) async fn look(
    vault: &Vault,
    globals: &Globals,
    names: &[PrefixName],
    sample: Sample,
) -> Outcome<(Arc<Sample>, Found)> {
    let mut total = 0;
    for name in names {
        let mut listed = vault.list(&name.dataset_ref(), &name.prefix, ListOptions::default());
        while let Some(line) = listed.next().await {
            total += if let Listed::Object(info) = line? { info.size } else { 0 };
        }
    }
    let sample = Arc::new(sample);
    let mut looking = Looking {
        bar: Progress::bytes(globals, "looking", Some(total)),
        most: 2 * std::thread::available_parallelism().map_or(1, usize::from),
        running: FuturesUnordered::new(),
        batch: Vec::new(),
        batched: 0,
        found: Found::new(sample.len()),
        sample: sample.clone(),
    };
    for name in names {
        let mut objects = vault.get_prefix(&name.dataset_ref(), &name.prefix, GetOptions::default());
        while let Some(fetched) = objects.next().await {
            let Fetched { info, body } = fetched?;
            let size = info.size;
            let path = info.path.clone();
            let read = match body {
                Ok(Body::Whole(bytes)) => {
                    looking.push(Arc::new(info), Job::whole(bytes.into())).await?;
                    Ok(())
                }
                Ok(Body::Stream(reader)) => looking.stream(&sample, info, *reader).await?,
                Err(error) => Err(error),
            };
            match read {
                Ok(()) => looking.found.done(size),
                Err(error) => looking.found.fail(Failed { path, error })?,
            }
        }
    }
    Ok((sample, looking.finish().await?))
}

type Looked = Vec<(Arc<ObjectInfo>, Vec<Find>)>;

/// Jobs under way, as many as keep the cores busy.
struct Looking {
    sample: Arc<Sample>,
    running: FuturesUnordered<JoinHandle<Looked>>,
    most: usize,
    batch: Vec<(Arc<ObjectInfo>, Job)>,
    batched: usize,
    found: Found,
    bar: Progress,
}

impl Looking {
    /// A large object, as it comes. What it says itself is why it could not be read.
    async fn stream(
        &mut self,
        sample: &Sample,
        info: ObjectInfo,
        mut reader: Reader,
    ) -> Outcome<Result<(), strongroom_client::Error>> {
        let info = Arc::new(info);
        let mut cutter = Cutter::new(sample, info.size);
        let (mut jobs, mut finds) = (Vec::new(), Vec::new());
        while let Some(bytes) = reader.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(error)),
            };
            cutter.feed(&bytes, |job| jobs.push(job), |find| finds.push(find));
            for job in jobs.drain(..) {
                self.push(info.clone(), job).await?;
            }
        }
        cutter.finish(|job| jobs.push(job), |find| finds.push(find));
        for job in jobs {
            self.push(info.clone(), job).await?;
        }
        self.found.add(&info, &finds)?;
        Ok(Ok(()))
    }

    async fn push(&mut self, info: Arc<ObjectInfo>, job: Job) -> Outcome {
        self.batched += job.len();
        self.batch.push((info, job));
        if self.batched >= BATCH || self.batch.len() >= 4096 {
            self.start().await?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Outcome {
        while self.running.len() >= self.most {
            self.take().await?;
        }
        let (batch, sample) = (std::mem::take(&mut self.batch), self.sample.clone());
        self.bar.add(std::mem::take(&mut self.batched) as u64);
        self.running.push(tokio::task::spawn_blocking(move || {
            let look = |(info, job): (Arc<ObjectInfo>, Job)| {
                let mut finds = Vec::new();
                job.look(&sample, &mut |find| finds.push(find));
                (info, finds)
            };
            batch.into_iter().map(look).filter(|(_, finds)| !finds.is_empty()).collect()
        }));
        Ok(())
    }

    async fn take(&mut self) -> Outcome {
        let Some(looked) = self.running.next().await else { return Ok(()) };
        let looked = looked.map_err(|_| Failure::stdio(&std::io::Error::other("a thread that looks ended early")))?;
        looked.iter().try_for_each(|(info, finds)| self.found.add(info, finds))
    }

    async fn finish(mut self) -> Outcome<Found> {
        self.start().await?;
        while !self.running.is_empty() {
            self.take().await?;
        }
        Ok(self.found)
    }
}
