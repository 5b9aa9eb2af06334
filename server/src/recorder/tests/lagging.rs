//! The object store goes away, and comes back; the disk under the ledger fills up, and is emptied.

use super::*;

impl Lab {
    /// Takes the ledgers' files away, or brings them back.
    fn ledgers_are(&self, away: bool) {
        let (here, there) = (self.folder.path().join("blobs/ledgers"), self.folder.path().join("blobs/away"));
        match away {
            true => {
                std::fs::rename(&here, &there).unwrap();
                std::fs::write(&here, "no folder").unwrap();
            }
            false => {
                std::fs::remove_file(&here).unwrap();
                std::fs::rename(&there, &here).unwrap();
            }
        }
    }
}

/// Appends go on while the store is away for an hour; releases do for a minute. Back, it catches up by itself.
async fn releases_stop_while_checkpoints_are_far_behind() {
    let mut lab = Lab::within(LedgerLimits { unsigned: Duration::from_secs(60), ..LIMITS }).await;
    let person = Person::new(&lab.tenant);
    let vendor = lab.vendor("labelco", &[&person]).await;
    let grant = lab.grant(Holder::Vendor(vendor), &[Action::Read], "math/", Limits::default()).await;
    lab.put_path("math/1", 10).await;
    let mut integrator = lab.integrator();
    assert!(integrator.pass().await);
    // Idle time is no lag.
    lab.clock.forward(3_600_000);
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    assert!(integrator.pass().await);

    lab.ledgers_are(true);
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    assert!(!integrator.pass().await, "it cannot");
    lab.clock.forward(60_000);
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    lab.clock.forward(1_000);
    assert_eq!(reason(lab.read(&person, Some(grant), &["math/1"]).await), Reason::LedgerUnavailable);
    assert_eq!(reason(lab.read(&lab.admin, None, &["math/1"]).await), Reason::LedgerUnavailable);
    lab.clock.forward(3_600_000);
    assert!(!integrator.pass().await, "it still cannot");
    // What takes away, and what is put, does not wait.
    lab.order(Instruction::SuspendVendor { vendor, note: None }).await.unwrap();
    lab.order(Instruction::ResumeVendor { vendor, note: None }).await.unwrap();
    lab.put_path("math/2", 10).await;
    assert_eq!(reason(lab.read(&lab.admin, None, &["math/1"]).await), Reason::LedgerUnavailable);

    lab.ledgers_are(false);
    // Another process knows how far behind it is.
    lab.restart().await;
    person.reconnect();
    lab.admin.reconnect();
    lab.recorder.view(&lab.tenant).await.unwrap();
    let lag = lab.recorder.inner.lag(&lab.tenant.id).unwrap();
    assert!(lag > Duration::from_secs(3660), "{lag:?}");
    lab.recorder.inner.ledger(&lab.tenant.id).lag().failed();
    assert_eq!(reason(lab.read(&lab.admin, None, &["math/1"]).await), Reason::LedgerUnavailable);
    lab.clock.forward(super::integration::LEASE_OVER);
    let mut integrator = lab.integrator();
    assert!(integrator.pass().await);
    lab.read(&lab.admin, None, &["math/2"]).await.unwrap();
    lab.read(&person, Some(grant), &["math/1"]).await.unwrap();
    assert!(integrator.pass().await);
    lab.check_log().await;
    lab.replay().await;
}

/// What cannot be recorded is not released; with room again it goes on where it was.
#[tokio::test]
async fn a_full_disk_stops_releases_until_there_is_room() {
    let lab = Lab::new().await;
    lab.put_path("math/1", 10).await;
    lab.read(&lab.admin, None, &["math/1"]).await.unwrap();
    for _ in 0..3 {
        // Not one page more than there are, for the connection that writes.
        lab.catalog.change("PRAGMA max_page_count = 1").await;
        let mut size = lab.seen().await.size;
        let failed = loop {
            match lab.read(&lab.admin, None, &["math/1"]).await {
                Ok(done) => size = Index(done.index().0 + 1),
                Err(error) => break error,
            }
            assert!(size < Index(2000), "the limit is none");
        };
        assert_eq!(failed.reason(), Reason::LedgerUnavailable);
        assert_eq!(lab.seen().await.size, size, "nothing was recorded");
        // SQLite has rolled back by itself, and the connection with the limit is gone.
        let done = lab.read(&lab.admin, None, &["math/1"]).await.unwrap();
        assert_eq!(done.index(), size, "no gap");
    }
    lab.put_path("math/2", 10).await;
    lab.replay().await;
}

on_each_engine! {
    (flavor = "multi_thread")
    releases_stop_while_checkpoints_are_far_behind,
}
