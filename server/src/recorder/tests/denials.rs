//! Refusals: recorded for those who are known, and not more often than is good.

use strongroom_core::ledger::{Entry, Event};

use super::*;

async fn denials(lab: &Lab) -> Vec<Entry> {
    let entries = lab.entries().await;
    let entries = entries.iter().map(|(public, _)| Entry::from_bytes(public).unwrap());
    entries.filter(|entry| entry.event == Event::Denied).collect()
}

async fn a_hammering_key_leaves_sixty_entries_and_a_sum() {
    let lab = Lab::new().await;
    let person = Person::new(&lab.tenant);
    lab.vendor("labelco", &[&person]).await;
    for _ in 0..70 {
        assert_eq!(reason(lab.read(&person, None, &["math/1"]).await), Reason::OutOfScope);
    }
    assert_eq!(denials(&lab).await.len(), 60);
    lab.clock.forward(60_000);
    lab.order(Instruction::CreateDataset { name: "other".parse().unwrap() }).await.unwrap();
    let all = denials(&lab).await;
    assert_eq!(all.len(), 61);
    assert_eq!((all[60].count, all[60].reason, all[60].actor.key), (10, Some(Reason::OutOfScope), person.key()));
    assert_eq!(lab.replay().await.counts.denials, 70);
}

async fn the_last_minute_is_summed_up_at_the_end() {
    let mut lab = Lab::new().await;
    let person = Person::new(&lab.tenant);
    lab.vendor("labelco", &[&person]).await;
    for _ in 0..61 {
        let refusal = Refusal::new(Reason::OutOfScope, "not yours");
        let denied = Denied { caller: person.caller.clone(), call: None, refusal };
        assert_eq!(reason(lab.record(Attempt::Denied(denied)).await), Reason::OutOfScope);
    }
    lab.restart().await;
    assert_eq!(lab.replay().await.counts.denials, 61);
}

async fn strangers_leave_no_entry() {
    let lab = Lab::new().await;
    let (stranger, holder) = (Person::new(&lab.tenant), Person::new(&lab.tenant));
    lab.grant(Holder::Key(holder.key()), &[Action::Read], "math/", Limits::default()).await;
    let before = lab.seen().await.size;
    assert_eq!(reason(lab.read(&stranger, None, &["math/1"]).await), Reason::Unauthenticated);
    let denied = |person: &Person| Denied {
        caller: person.caller.clone(),
        call: None,
        refusal: Refusal::new(Reason::OutOfScope, "not yours"),
    };
    assert!(matches!(
        lab.record(Attempt::Denied(denied(&stranger))).await,
        Err(RecordError::Refused { index: None, .. })
    ));
    assert_eq!(lab.seen().await.size, before);
    // Whoever holds a grant of their own is known.
    assert!(matches!(
        lab.record(Attempt::Denied(denied(&holder))).await,
        Err(RecordError::Refused { index: Some(index), .. }) if index == before
    ));
    lab.replay().await;
}

/// A refused call that is asked again, in the same words and the same session, is the same call.
async fn a_refused_call_may_come_again() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = Some(lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await);
    lab.order(Instruction::SuspendVendor { vendor, note: None }).await.unwrap();
    let request = random_id(RequestId::from_bytes);
    let call = || person.call_as(request, get(&["math/1"]), grant);
    for _ in 0..2 {
        let release = lab.release_of(&call()).await;
        assert_eq!(reason(lab.record(Attempt::Release(release)).await), Reason::VendorSuspended);
    }
    lab.order(Instruction::ResumeVendor { vendor, note: None }).await.unwrap();
    let release = lab.release_of(&call()).await;
    assert!(!is_repeat(&lab.record(Attempt::Release(release)).await.unwrap()));
    lab.replay().await;
}

on_each_engine! {
    (flavor = "current_thread")
    a_hammering_key_leaves_sixty_entries_and_a_sum,
    the_last_minute_is_summed_up_at_the_end,
    strangers_leave_no_entry,
    a_refused_call_may_come_again,
}
