//! Where tests keep blobs: on a disk, unless a case says that it runs on an S3 too.
//!
//! [`on_s3!`](crate::on_s3) names cases that a file has for disks already, once more: with blobs in a bucket of their own.

/// Where blobs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// In a folder.
    Disk,
    /// In a bucket of this process's moto.
    S3,
}

tokio::task_local! {
    static HERE: Store;
}

impl Store {
    /// Where this test keeps them.
    pub fn here() -> Self {
        HERE.try_with(|store| *store).unwrap_or(Self::Disk)
    }

    /// Runs a case with its blobs there.
    pub async fn run(self, case: impl Future<Output = ()>) {
        HERE.scope(self, case).await;
    }
}

/// Makes two tests of each of these cases, with blobs in a bucket: one with the catalog on SQLite and one on PostgreSQL; before them,
/// how tokio runs them.
#[macro_export]
macro_rules! on_s3 {
    (@ $flavor:tt $case:ident) => {
        mod $case {
            $crate::on_moto! {
                #[tokio::test $flavor]
                async fn with_sqlite() {
                    $crate::Store::S3.run($crate::Engine::Sqlite.run(super::super::$case())).await;
                }
            }

            $crate::on_postgres_and_moto! {
                #[tokio::test $flavor]
                async fn with_postgres() {
                    $crate::Store::S3.run($crate::Engine::Postgres.run(super::super::$case())).await;
                }
            }
        }
    };
    ($flavor:tt $($case:ident),+ $(,)?) => { mod on_s3 { $($crate::on_s3!(@ $flavor $case);)+ } };
}
