//! Many secrets, looked for at once, in every form that a careless program may have written them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// The fewest bytes to look for: shorter, they would be found by chance.
const LEAST: usize = 8;

/// What to look for.
#[derive(Default)]
pub struct Search {
    needles: Vec<Needle>,
    /// Which needles begin with these bytes: one look at each place of a text is enough, however many needles there are.
    by_start: HashMap<[u8; LEAST], Vec<usize>>,
}

struct Needle {
    name: String,
    bytes: Vec<u8>,
}

impl Search {
    /// Adds a key: it is found as it is, in hex, in base64 (wherever in a longer text it stands) and as a list of numbers.
    pub fn add_key(&mut self, name: &str, key: &[u8]) {
        for (how, bytes) in spellings(key) {
            self.add(format!("{name} {how}"), bytes);
        }
    }

    /// Adds a text, piece by piece of 32 bytes: half of it is too much as well.
    pub fn add_text(&mut self, name: &str, text: &[u8]) {
        for piece in text.chunks_exact(32) {
            self.add_key(name, piece);
        }
    }

    fn add(&mut self, name: String, bytes: Vec<u8>) {
        let start = bytes.first_chunk().expect("too short to be looked for");
        self.by_start.entry(*start).or_default().push(self.needles.len());
        self.needles.push(Needle { name, bytes });
    }

    /// The names of all that stand in `text`.
    pub fn find(&self, text: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for at in 0..text.len().saturating_sub(LEAST - 1) {
            let rest = &text[at..];
            let Some(start) = rest.first_chunk() else { break };
            for &needle in self.by_start.get(start).into_iter().flatten() {
                let Needle { name, bytes } = &self.needles[needle];
                if rest.starts_with(bytes) {
                    found.insert(name.as_str());
                }
            }
        }
        found
    }

    /// The names of all that stand in a file below `folder`, or in the name of one, each with the file.
    pub fn find_below(&self, folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        crate::oracle::walk(folder, &mut |file| {
            let bytes = match std::fs::read(file) {
                Ok(bytes) => bytes,
                // A server beside goes on: what it replaced or swept meanwhile is no longer there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => panic!("{}: {error}", file.display()),
            };
            for text in [&bytes[..], file.to_str().unwrap().as_bytes()] {
                found.extend(self.find(text).into_iter().map(|name| format!("{name} in {}", file.display())));
            }
        });
        found
    }
}

fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = vec![
        ("as it is", secret.to_vec()),
        ("in hex", HEXLOWER.encode(secret).into_bytes()),
        ("in upper-case hex", HEXUPPER.encode(secret).into_bytes()),
        ("as a list of numbers", format!("{secret:?}").trim_matches(['[', ']']).as_bytes().to_vec()),
    ];
    // Base64 spells a text in three ways, by where in a group of three bytes it begins: of each, the part that this text alone
    // decides.
    for skip in 0..3 {
        let whole = &secret[skip..skip + (secret.len() - skip) / 3 * 3];
        found.push(("in base64", BASE64_NOPAD.encode(whole).into_bytes()));
        found.push(("in base64 for URLs", BASE64URL_NOPAD.encode(whole).into_bytes()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(key: &[u8]) -> Search {
        let mut search = Search::default();
        search.add_key("another", &crate::sample::bytes(1, 32));
        search.add_key("it", key);
        search
    }

    #[test]
    fn every_spelling_is_found_and_nothing_else() {
        let key = crate::sample::bytes(7, 32);
        let search = search(&key);
        for before in 0..3 {
            let base64 = data_encoding::BASE64.encode(&[&vec![9; before], &key[..], b"after"].concat());
            assert!(search.find(base64.as_bytes()).contains("it in base64"), "{before} bytes before it");
        }
        let text = [format!("{key:?}").as_bytes(), b"...", &HEXUPPER.encode(&key).into_bytes(), &key].concat();
        let found: Vec<_> = search.find(&text).into_iter().collect();
        assert_eq!(found, ["it as a list of numbers", "it as it is", "it in upper-case hex"]);
        assert!(search.find(&key[..31]).is_empty() && search.find(b"").is_empty());
    }

    #[test]
    fn a_folder_is_searched_to_its_ground() {
        let folder = tempfile::tempdir().unwrap();
        let key = crate::sample::bytes(7, 32);
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/file"), [b"x", &key[..], b"y"].concat()).unwrap();
        std::fs::write(folder.path().join("a").join(HEXLOWER.encode(&key)), "").unwrap();
        let found = search(&key).find_below(folder.path());
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
