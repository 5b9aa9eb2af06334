//! A stream's items in groups, each for one call.
//!
//! A group is given out when it is full or the input has ended. One that is not full waits for more input as long as another
//! group is under way, and no longer: so a slow input is not held back, and a fast one fills its calls, without a timer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::stream::Fuse;
use futures::{Stream, StreamExt};
use strongroom_core::call::MAX_ITEMS;

/// Counts a group as under way as long as it lives.
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Busy {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Groups a stream's items by what they cost together, 1 to [`MAX_ITEMS`] each.
pub(crate) struct Groups<S: Stream> {
    input: Pin<Box<Fuse<S>>>,
    cost: fn(&S::Item) -> usize,
    budget: usize,
    group: Vec<S::Item>,
    spent: usize,
    /// An item that did not fit into the last group.
    over: Option<S::Item>,
    /// Groups that are under way.
    pub(crate) busy: Arc<AtomicUsize>,
}

impl<S: Stream> Unpin for Groups<S> {}

impl<S: Stream> Groups<S> {
    pub(crate) fn new(input: S, cost: fn(&S::Item) -> usize, budget: usize) -> Self {
        let input = Box::pin(input.fuse());
        Self { input, cost, budget, group: Vec::new(), spent: 0, over: None, busy: Arc::default() }
    }

    /// Adds an item; gives the group back if it is full.
    fn add(&mut self, item: S::Item) -> Option<Vec<S::Item>> {
        let cost = (self.cost)(&item);
        if !self.group.is_empty() && self.spent + cost > self.budget {
            self.over = Some(item);
            return Some(self.take());
        }
        self.spent += cost;
        self.group.push(item);
        (self.spent >= self.budget || self.group.len() >= MAX_ITEMS).then(|| self.take())
    }

    fn take(&mut self) -> Vec<S::Item> {
        self.spent = 0;
        std::mem::take(&mut self.group)
    }
}

impl<S: Stream> Stream for Groups<S> {
    type Item = Vec<S::Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<S::Item>>> {
        let this = &mut *self;
        loop {
            if let Some(item) = this.over.take()
                && let Some(full) = this.add(item)
            {
                return Poll::Ready(Some(full));
            }
            match this.input.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    if let Some(full) = this.add(item) {
                        return Poll::Ready(Some(full));
                    }
                }
                Poll::Ready(None) => {
                    let last = this.take();
                    return Poll::Ready((!last.is_empty()).then_some(last));
                }
                Poll::Pending if this.busy.load(Ordering::Acquire) == 0 && !this.group.is_empty() => {
                    return Poll::Ready(Some(this.take()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;

    use super::*;

    fn costs(item: &usize) -> usize {
        *item
    }

    async fn grouped(items: &[usize], budget: usize) -> Vec<Vec<usize>> {
        Groups::new(futures::stream::iter(items.to_vec()), costs, budget).collect().await
    }

    #[tokio::test]
    async fn groups_keep_order_and_budget() {
        assert_eq!(grouped(&[], 10).await, Vec::<Vec<usize>>::new());
        assert_eq!(grouped(&[1, 2, 3], 10).await, [vec![1, 2, 3]]);
        assert_eq!(grouped(&[4, 4, 4, 4, 4], 10).await, [vec![4, 4], vec![4, 4], vec![4]]);
        assert_eq!(grouped(&[5, 5, 5], 10).await, [vec![5, 5], vec![5]]);
        assert_eq!(
            grouped(&[1, 10, 1, 10, 10, 2], 10).await,
            [vec![1], vec![10], vec![1], vec![10], vec![10], vec![2]]
        );
        assert_eq!(grouped(&[99, 1], 10).await, [vec![99], vec![1]], "an item over the budget goes alone");
        let lengths: Vec<_> = grouped(&[0; 2500], 10).await.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1024, 1024, 452]);
    }

    #[tokio::test]
    async fn what_is_not_full_waits_only_while_something_is_under_way() {
        let (input, items) = mpsc::unbounded();
        let mut groups = Groups::new(items, costs, 10);
        let send = |item: usize| input.unbounded_send(item).unwrap();
        assert!(futures::poll!(groups.next()).is_pending());
        send(1);
        send(2);
        assert_eq!(futures::poll!(groups.next()), Poll::Ready(Some(vec![1, 2])), "nothing else is under way");

        let under_way = Busy::new(&groups.busy);
        send(3);
        assert!(futures::poll!(groups.next()).is_pending());
        send(6);
        assert!(futures::poll!(groups.next()).is_pending());
        send(1);
        assert_eq!(futures::poll!(groups.next()), Poll::Ready(Some(vec![3, 6, 1])), "full");
        send(7);
        assert!(futures::poll!(groups.next()).is_pending());
        drop(under_way);
        assert_eq!(futures::poll!(groups.next()), Poll::Ready(Some(vec![7])));
        drop(input);
        assert_eq!(groups.next().await, None);
    }
}
