//! age on a local file: encryption alone, no network, synced at the end.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use crate::Result;

/// MB/s of encrypting `source` into a synced file beside it, and of decrypting that to nowhere.
pub fn encrypt_and_decrypt(source: &Path) -> Result<(f64, f64)> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let sealed = source.with_extension("age");
    let bytes = std::fs::metadata(source)?.len() as f64 / 1e6;

    let start = Instant::now();
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?;
    let file = std::fs::File::create(&sealed)?;
    let mut writer = encryptor.wrap_output(std::io::BufWriter::with_capacity(1 << 20, file))?;
    copy(std::fs::File::open(source)?, &mut writer)?;
    writer.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
    let encrypted = bytes / start.elapsed().as_secs_f64();

    let start = Instant::now();
    let decryptor = age::Decryptor::new(std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(&sealed)?))?;
    copy(decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))?, &mut std::io::sink())?;
    let decrypted = bytes / start.elapsed().as_secs_f64();
    std::fs::remove_file(&sealed)?;
    Ok((encrypted, decrypted))
}

fn copy(mut from: impl Read, to: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}
