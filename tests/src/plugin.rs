//! A plugin of age, small and real: it speaks the protocol, and hides a file's key behind a PIN.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Its name: the program is `age-plugin-strongroomtest`.
pub const NAME: &str = "strongroomtest";
/// What it asks for before it opens anything.
pub const PIN: &str = "2468";
/// A recipient of it.
pub const RECIPIENT: &str = "age1strongroomtest1qyqszqgtawgwz";
/// One that it refuses.
pub const REFUSED: &str = "age1strongroomtest1qgpqyqsccre2u";

/// Installs it into a folder; a `PATH` that has it.
pub fn install(folder: &Path) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let program = folder.join(format!("age-plugin-{NAME}"));
    std::fs::write(&program, PROGRAM.replace("REFUSED", REFUSED)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// The text of its identity.
pub fn identity() -> String {
    age::plugin::Identity::default_for_plugin(NAME).unwrap().to_string()
}

const PROGRAM: &str = r#"#!/usr/bin/env python3
import base64, sys
def read():
    line = sys.stdin.readline()
    if not line: sys.exit(1)
    args, body = line.split()[1:], ""
    while True:
        part = sys.stdin.readline().rstrip("\n")
        body += part
        if len(part) < 64: break
    return args, base64.b64decode(body + "=" * (-len(body) % 4))
def say(args, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64: lines.append("")
    sys.stdout.write("-> " + " ".join(args) + "\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()
MASK = bytes(range(7, 7 + 16))
hide = lambda key: bytes(a ^ b for a, b in zip(key, MASK))
got = []
while True:
    args, body = read()
    if args[0] == "done": break
    got.append((args, body))
if sys.argv[1] == "--age-plugin=recipient-v1":
    to = [args[1] for args, body in got if args[0] == "add-recipient"]
    for args, body in got:
        if to == ["REFUSED"]:
            say(["error", "recipient", "0"], b"it is of\nno use")
            read()
            break
        if args[0] == "wrap-file-key":
            say(["recipient-stanza", "0", "strongroomtest"], hide(body))
            read()
elif sys.argv[1] == "--age-plugin=identity-v1":
    say(["request-secret"], b"PIN of the test")
    args, body = read()
    if args[0] == "ok" and body == b"2468":
        for args, body in got:
            if args[0] == "recipient-stanza" and args[2] == "strongroomtest":
                say(["file-key", args[1]], hide(body))
                read()
say(["done"])
"#;
