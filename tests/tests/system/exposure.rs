//! What a vendor had, where that is known by construction: two vendors, a worker by delegation, ranges, reads again, a suspension.

use futures::TryStreamExt;
use strongroom_client::{Action, GetOptions, Millis, PutOptions, Reason, Terms};
use strongroom_core::audit::exposure::{Exposure, Question, Since};
use strongroom_tests::{Lab, TestVault, Worker};

use super::bad_input::reason;

const SEGMENT: u64 = 65_536;
const READ: &[Action] = &[Action::List, Action::Read];

async fn exposed(lab: &Lab, question: Question) -> Exposure {
    let far = Millis(u64::MAX);
    lab.vault.exposure(&lab.tenant, question, far).await.unwrap()
}

fn of(vendor: &str) -> Question {
    Question { vendor: Some(vendor.parse().unwrap()), ..Question::default() }
}

async fn read_range(by: &Worker, lab: &Lab, name: &str, start: u64, end: u64) {
    let mut reader = by.vault.get_range(&lab.object(name), start..end, GetOptions::default()).await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = reader.try_next().await.unwrap() {
        bytes += chunk.len() as u64;
    }
    assert_eq!(bytes, end - start);
}

#[tokio::test(flavor = "current_thread")]
async fn an_exposure_is_exactly_what_was_released() {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/math/large", vec![1; 10 * SEGMENT as usize + 5]).await;
    for name in ["rlhf/math/1", "rlhf/math/2", "rlhf/math/never", "rlhf/other"] {
        lab.put(name, vec![2; 1000]).await;
    }
    let (labelco, rival) = (lab.vendor(&vault, "labelco").await, lab.vendor(&vault, "rival").await);
    let scopes: [(&[Action], &str); 2] = [(READ, "rlhf/math/"), (&[Action::Write], "rlhf/labels/")];
    let root = lab.grant(Terms { delegable: true, ..lab.terms(labelco.holder, &scopes) }).await;
    lab.let_read(&rival, "rlhf/").await;
    let worker = lab.key(&vault).await;
    let part = lab.terms(worker.holder, &[(READ, "rlhf/math/")]);
    let part = Terms { expires: Millis(part.expires.0 - 60_000), ..part };
    let (child, _) = labelco.vault.issue_grant(&lab.tenant, part).await.unwrap();

    // Segments 2 and 3 by the vendor, 3 to 5 by its worker, 0 again and again; the last one, which is short, by the rival.
    read_range(&labelco, &lab, "rlhf/math/large", 2 * SEGMENT, 4 * SEGMENT).await;
    read_range(&worker, &lab, "rlhf/math/large", 3 * SEGMENT + 1, 5 * SEGMENT + 1).await;
    for _ in 0..3 {
        read_range(&labelco, &lab, "rlhf/math/large", 10, 20).await;
    }
    read_range(&rival, &lab, "rlhf/math/large", 10 * SEGMENT, 10 * SEGMENT + 5).await;
    let whole = |by: &Worker, name: &str| {
        let (vault, name) = (by.vault.clone(), lab.object(name));
        async move { vault.get_bytes(&name, GetOptions::default()).await }
    };
    whole(&labelco, "rlhf/math/1").await.unwrap();
    whole(&worker, "rlhf/math/2").await.unwrap();
    whole(&rival, "rlhf/other").await.unwrap();
    let label = lab.object("rlhf/labels/1");
    labelco.vault.put_bytes(&label, vec![3; 77].into(), PutOptions::default()).await.unwrap();
    // What was refused is no exposure.
    assert_eq!(reason(whole(&worker, "rlhf/other").await), Reason::OutOfScope);
    lab.vault.suspend_vendor(&lab.tenant, &"labelco".parse().unwrap(), None).await.unwrap();
    assert_eq!(reason(whole(&worker, "rlhf/math/never").await), Reason::VendorSuspended);
    lab.put("rlhf/math/1", vec![4; 9]).await;

    let found = exposed(&lab, of("labelco")).await;
    let told: Vec<_> = found
        .objects
        .iter()
        .map(|object| {
            let (_, path) = object.name.as_ref().unwrap();
            (path.as_str().to_owned(), object.read.as_slice().to_vec(), object.bytes, object.bytes_total)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("labels/1".to_owned(), vec![], 0, 0),
            ("math/1".to_owned(), vec![(0, 1)], 1000, 1000),
            ("math/2".to_owned(), vec![(0, 1)], 1000, 1000),
            ("math/large".to_owned(), vec![(0, 1), (2, 6)], 5 * SEGMENT, 8 * SEGMENT),
        ]
    );
    let totals = &found.totals;
    assert_eq!((totals.objects, totals.bytes, totals.bytes_total), (3, 5 * SEGMENT + 2000, 8 * SEGMENT + 2000));
    assert_eq!((totals.releases, totals.repeats, totals.written, totals.written_bytes), (7, 0, 1, 77));
    assert_eq!((totals.overwritten, totals.deleted, totals.unattributed, totals.unnamed), (1, 0, 0, 0));
    assert!(matches!(found.objects[1].since, Since::Overwritten(_)), "{:?}", found.objects[1]);
    let large = &found.objects[3];
    assert_eq!(large.keys, [labelco.identity.fingerprint(), worker.identity.fingerprint()].into());
    assert_eq!(large.grants, [root, child].into());
    assert_eq!(large.sources, ["127.0.0.1".to_owned()].into());
    // In scope: four of math/, and what took the place of one of them.
    let scope = found.scope.unwrap();
    assert_eq!((scope.objects, scope.unreleased, scope.unreleased_bytes), (5, 2, 1009));
    assert!(found.grants.is_empty(), "nothing is live in the far future: {:?}", found.grants);

    let by = |key| Question { key: Some(key), ..Question::default() };
    let of_worker = exposed(&lab, by(worker.identity.fingerprint())).await;
    assert_eq!((of_worker.totals.objects, of_worker.totals.bytes), (2, 3 * SEGMENT + 1000));
    let of_rival = exposed(&lab, of("rival")).await;
    assert_eq!((of_rival.totals.objects, of_rival.totals.bytes), (2, 1005));
    let late = Question { since: Some(Millis(totals.last.unwrap().time.0 + 1)), ..of("labelco") };
    assert_eq!(exposed(&lab, late).await.totals.objects, 0);
    let nobody = lab.vault.exposure(&lab.tenant, of("nobody"), Millis(0)).await;
    assert_eq!(reason(nobody), Reason::NotFound);
    let not_an_admin = labelco.vault.exposure(&lab.tenant, of("labelco"), Millis(0)).await;
    assert_eq!(reason(not_an_admin), Reason::OutOfScope);
    let _ = vault.ledger("acme").await.assert_clean();
}
