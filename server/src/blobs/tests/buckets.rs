//! Buckets that fail, for a moment or for good, and what a start says of them.

use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};
use strongroom_test_services::{Azurite, Fault, Faults, Moto, on_azurite, on_moto};

use super::suite::{azure, names, s3};
use super::*;
use crate::config::BucketUrl;

/// Tries again as a server does, but not for as long.
fn hasty(url: &BucketUrl) -> Blobs {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(20),
        ..BackoffConfig::default()
    };
    let retry = RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(2) };
    Blobs::of_bucket(Bucket::open(url, retry).unwrap())
}

fn behind_faults() -> (String, Faults, Blobs) {
    let bucket = Moto::shared().bucket();
    let faults = Faults::before(Moto::shared().port());
    let blobs = hasty(&s3(&bucket, faults.port()));
    (bucket, faults, blobs)
}

on_moto! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_put_survives_what_passes() {
        let (bucket, faults, blobs) = behind_faults();
        let failing = [Fault::Unavailable, Fault::Cut, Fault::LoseAnswer, Fault::CutAfter(10)];
        for (at, fault) in failing.into_iter().enumerate() {
            faults.plan("PUT /", fault, 2);
            let name = blobs.pack_name(&TENANT).unwrap();
            blobs.put_pack(&name, Bytes::from_static(b"a pack")).await.unwrap();
            assert_eq!(blobs.range(&name, 0, 6).await.unwrap(), "a pack", "{fault:?}");
            assert_eq!(faults.failed(), 2 * (at + 1), "{fault:?}");
        }
        assert_eq!(Moto::shared().objects(&bucket).len(), failing.len());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upload_in_parts_survives_what_passes() {
        let (bucket, faults, blobs) = behind_faults();
        let size = 2 * parts::PART as u64 + 5;
        let bytes = sealed(size);
        faults.plan("?uploads", Fault::Unavailable, 1);
        faults.plan("partNumber=1&", Fault::Unavailable, 2);
        faults.plan("partNumber=2&", Fault::Cut, 1);
        faults.plan("partNumber=3&", Fault::LoseAnswer, 1);
        let upload = upload(&blobs, &bytes, 262_144).await;
        faults.plan("?uploadId=", Fault::LoseAnswer, 1);
        let stored = upload.finish(size).await.unwrap();
        assert_eq!(faults.failed(), 6);
        let found = collect(&blobs, &stored.blob, 0, bytes.len() as u64).await.unwrap();
        assert!(found == bytes, "the bytes are those that were sent");
        assert!(Moto::shared().uploads(&bucket).is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_is_taken_up_where_it_broke() {
        let (_, faults, blobs) = behind_faults();
        let bytes: Vec<u8> = (0..5_000_000_u64).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let name = blobs.pack_name(&TENANT).unwrap();
        blobs.put_pack(&name, bytes.clone().into()).await.unwrap();
        // More breaks than the store's client mends by itself.
        faults.plan("GET /", Fault::CutAfter(600_000), 7);
        assert!(collect(&blobs, &name, 1, 4_999_999).await.unwrap() == bytes[1..], "as if nothing had broken");
        assert_eq!(faults.failed(), 7);
        faults.plan("GET /", Fault::CutAfter(600_000), 1);
        assert!(blobs.range(&name, 0, 5_000_000).await.unwrap() == bytes);

        // One that never goes on ends.
        faults.plan("GET /", Fault::CutAfter(50), usize::MAX);
        let error = collect(&blobs, &name, 0, 5_000_000).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Unavailable);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_store_that_stays_away_is_an_error() {
        let (_, faults, blobs) = behind_faults();
        let mut under_way = blobs.begin(&TENANT).await.unwrap();
        under_way.write(Bytes::from(vec![0; parts::PART])).await.unwrap();
        faults.plan("", Fault::Unavailable, usize::MAX);
        let name = blobs.pack_name(&TENANT).unwrap();
        let error = blobs.put_pack(&name, Bytes::from_static(b"a pack")).await.unwrap_err();
        assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("503"), "{error}");
        assert_eq!(blobs.range(&name, 0, 1).await.unwrap_err().reason(), Reason::Unavailable);
        assert_eq!(blobs.delete(&name).await.unwrap_err().reason(), Reason::Unavailable);
        let mut failed = false;
        for _ in 0..8 {
            failed |= under_way.write(Bytes::from(vec![0; parts::PART])).await.is_err();
        }
        assert!(failed, "an upload notices before its end");
        assert_eq!(under_way.finish(1).await.unwrap_err().reason(), Reason::Integrity);
        faults.clear();
        blobs.put_pack(&name, Bytes::from_static(b"a pack")).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bucket_that_will_not_do_is_one_line() {
        let moto = Moto::shared();
        let why = async |blobs: Blobs| {
            let error = blobs.probe().await.unwrap_err();
            assert_eq!(error.reason(), Reason::Unavailable);
            let line = error.to_string();
            assert!(!line.contains('\n') && line.len() < 400, "{line}");
            line
        };
        let missing = why(hasty(&s3("not-there", moto.port()))).await;
        assert_eq!(missing, "s3://not-there/deep/prefix: there is no such bucket (NoSuchBucket)");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let unreachable = why(hasty(&s3("bucket", nobody))).await;
        assert!(unreachable.starts_with("s3://bucket/deep/prefix: it cannot be written: "), "{unreachable}");
        let (bucket, faults, blobs) = behind_faults();
        faults.plan("?uploads", Fault::Unavailable, usize::MAX);
        let parts = why(blobs).await;
        assert!(parts.contains("it cannot be written in parts"), "{parts}");
        assert!(moto.objects(&bucket).is_empty(), "a probe that failed leaves nothing");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn encryption_is_asked_for_where_options_say_so() {
        let moto = Moto::shared();
        let mut url = s3(&moto.bucket(), moto.port());
        url.options.insert("aws_server_side_encryption".to_owned(), "aws:kms".to_owned());
        url.options.insert("aws_sse_kms_key_id".to_owned(), "key-7".to_owned());
        let blobs = hasty(&url);
        let name = blobs.pack_name(&TENANT).unwrap();
        blobs.put_pack(&name, Bytes::from_static(b"a pack")).await.unwrap();
        let size = parts::PART as u64 + 1;
        let stored = upload(&blobs, &sealed(size), 262_144).await.finish(size).await.unwrap();
        for blob in [name, stored.blob] {
            let header = |name| moto.header(&url.bucket, &format!("deep/prefix/{blob}"), name);
            assert_eq!(header("x-amz-server-side-encryption").as_deref(), Some("aws:kms"), "{blob}");
            assert_eq!(header("x-amz-server-side-encryption-aws-kms-key-id").as_deref(), Some("key-7"), "{blob}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dropped_upload_is_aborted() {
        let moto = Moto::shared();
        let bucket = moto.bucket();
        let blobs = hasty(&s3(&bucket, moto.port()));
        let under_way = upload(&blobs, &vec![0; 2 * parts::PART], 262_144).await;
        assert_eq!(moto.uploads(&bucket).len(), 1);
        drop(under_way);
        for _ in 0..1000 {
            if moto.uploads(&bucket).is_empty() {
                return assert!(names(&blobs).await.is_empty());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the upload is left");
    }
}

on_azurite! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn wrong_credentials_are_one_line() {
        let azurite = Azurite::shared();
        let mut url = azure(&azurite.container(), azurite.port());
        url.options.insert("azure_storage_account_key".to_owned(), "c2VjcmV0LWJ1dC13cm9uZw==".to_owned());
        let error = hasty(&url).probe().await.unwrap_err().to_string();
        assert!(error.contains("it cannot be written: AuthorizationFailure"), "{error}");
        assert!(!error.contains('\n') && !error.contains("c2VjcmV0"), "{error}");
        let missing = hasty(&azure("not-there", azurite.port())).probe().await.unwrap_err().to_string();
        assert_eq!(missing, "az://not-there/deep/prefix: there is no such bucket (ContainerNotFound)");
    }
}
