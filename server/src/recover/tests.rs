//! Recovery from an export that no code of this project made: `core/tests/vectors/escrow-v1.json`.

use std::path::PathBuf;

use data_encoding::HEXLOWER;
use futures::TryStreamExt;
use serde_json::Value;

use super::*;

/// The export in a folder, the blobs beside it, and files with the identities.
struct Export {
    folder: tempfile::TempDir,
    vector: Value,
}

impl Export {
    fn new() -> Self {
        let vector: Value = serde_json::from_str(include_str!("../../../core/tests/vectors/escrow-v1.json")).unwrap();
        let export = Self { folder: tempfile::tempdir().unwrap(), vector };
        for name in [HEAD_FILE, OBJECTS_FILE] {
            export.write(name, export.vector[name].as_str().unwrap().as_bytes());
        }
        let blob = &export.vector["blob"];
        let bytes = HEXLOWER.decode(blob["bytes"].as_str().unwrap().as_bytes()).unwrap();
        export.write(&format!("store/{}", blob["name"].as_str().unwrap()), &bytes);
        export
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, identity: &Value) -> Result<Recovery, RecoverError> {
        let identity = self.write("identity", identity.as_str().unwrap().as_bytes());
        Recovery::open(self.folder.path(), &identity, age::NoCallbacks)
    }

    async fn read(&self, recovery: &Recovery, object: ExportedObject) -> Result<Vec<u8>, RecoverError> {
        let blobs = open_blobs(&format!("file:{}", self.folder.path().join("store").display())).unwrap();
        let pieces: Vec<Bytes> = recovery.read(&blobs, object).await?.try_collect().await?;
        Ok(pieces.concat())
    }
}

#[tokio::test]
async fn each_recipient_opens_every_object() {
    let export = Export::new();
    for identity in export.vector["identities"].as_array().unwrap() {
        let recovery = export.open(identity).unwrap();
        let objects: Vec<ExportedObject> = recovery.objects().unwrap().collect::<Result<_, _>>().unwrap();
        let plaintexts = export.vector["plaintexts"].as_array().unwrap();
        assert_eq!(objects.len(), plaintexts.len());
        for (object, plaintext) in objects.into_iter().zip(plaintexts) {
            let found = export.read(&recovery, object).await.unwrap();
            assert_eq!(HEXLOWER.encode(&found), plaintext.as_str().unwrap());
        }
    }
    let stranger = export.open(&export.vector["stranger"]);
    assert!(matches!(stranger, Err(RecoverError::NotSealed(_))));
}

#[tokio::test]
async fn a_row_that_was_changed_opens_nothing() {
    let export = Export::new();
    let recovery = export.open(&export.vector["identities"][0]).unwrap();
    let object = || recovery.objects().unwrap().nth(1).unwrap().unwrap();
    let changes: [fn(&mut ExportedObject); 5] = [
        |object| object.path = "math/000008.json".parse().unwrap(),
        |object| object.size -= 1,
        |object| object.key_version = 1,
        |object| object.content_root = Digest::from_bytes([0; 32]),
        |object| object.offset = 0,
    ];
    for change in changes {
        let mut changed = object();
        change(&mut changed);
        assert!(matches!(export.read(&recovery, changed).await, Err(RecoverError::Object(_))));
    }
    let rows = export.vector[OBJECTS_FILE].as_str().unwrap();
    export.write(OBJECTS_FILE, rows.replacen("\"generation\":1", "\"generation\":2", 1).as_bytes());
    assert!(matches!(export.open(&export.vector["identities"][0]), Err(RecoverError::Export(_))));
}
