use clap::{Command, CommandFactory, Parser};

use super::Cli;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let mut words = vec![String::from("strongroom")];
    let mut quoted = false;
    for part in line.split('\'') {
        if quoted {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
        quoted = !quoted;
    }
    Cli::try_parse_from(words)
}

const KEY: &str = "SHA256:MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM";
const GRANT: &str = "gr_22222222222222222222222222222222";

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_walkthrough_parses() {
    for line in [
        "init ./vault",
        "serve ./vault --listen 127.0.0.1:7443",
        "--home lab login 127.0.0.1:7443 --server-key KEY",
        "--home ./vault/operator tenant create acme --admin KEY",
        "--home lab put prompts.jsonl acme/rlhf/prompts.jsonl --create",
        "--home lab put --split-lines gsm8k.jsonl acme/rlhf/math/",
        "--home lab vendor add acme/labelco --key KEY",
        "--home lab grant issue --to acme/labelco --read acme/rlhf/math/ --write acme/rlhf/labels/ --for 12h \
         --max-bytes 10MiB --delegable",
        "--home labelco get acme/rlhf/math/000007.json -o item.json",
        "--home labelco get acme/rlhf/math/ -o items/",
        "--home labelco grant issue --to KEY --read 'acme/rlhf/math/0000*' --for 15m",
        "--home lab vendor suspend acme/labelco --note 'incident 42'",
        "--home labelco cat acme/rlhf/math/000008.json",
    ] {
        let line = line.replace("KEY", KEY);
        assert!(parse(&line).is_ok(), "{line}: {}", parse(&line).unwrap_err());
    }
}

#[test]
fn everything_else_parses() {
    for line in [
        "demo",
        "demo --data x --keep y",
        "init ./vault --name a.b --listen 0.0.0.0:1 --passphrase",
        "init ./vault --root aws-kms --key alias/a --region eu-central-1",
        "init ./vault --root pkcs11 --module /m.so --token t --key k --pin-file p",
        "unlock ./vault --passphrase-file p",
        "root rotate ./vault --to aws-kms --key alias/a --detach",
        "root join ./vault",
        "root status ./vault",
        "vault-key rotate ./vault --yes",
        "vault-key show ./vault",
        "serve ./vault --log-format json",
        "whoami",
        "whoami acme",
        "identity new --passphrase",
        "identity show",
        "tenant create acme --admin KEY --admin KEY",
        "tenant list",
        "tenant show acme",
        "vendor list acme",
        "vendor show acme/labelco",
        "vendor resume acme/labelco",
        "vendor remove acme/labelco --yes",
        "vendor key add acme/labelco KEY",
        "vendor key revoke acme/labelco KEY",
        "dataset create acme/rlhf",
        "dataset list acme",
        "dataset show acme/rlhf",
        "dataset delete acme/rlhf --yes",
        "put - acme/rlhf/x",
        "put a b c/ acme/rlhf/x/",
        "put a acme/rlhf/x --if-absent",
        "put a acme/rlhf/x --if-generation 3",
        "put --split-lines a acme/rlhf/x/ --digits 9",
        "get 'acme/rlhf/math/0*' --join -o -",
        "get acme/rlhf/x --generation 2",
        "cat acme/rlhf/x --range 0-9",
        "cat acme/rlhf/x --range -9",
        "cat acme/rlhf/x acme/rlhf/y",
        "ls acme",
        "ls -r -l acme/rlhf",
        "stat acme/rlhf/x --generation 1",
        "rm acme/rlhf/x --if-generation 3",
        "rm -r acme/rlhf/x/ --yes",
        "grant issue --to KEY --overwrite acme/rlhf/ --delete acme/rlhf/a --list acme/rlhf/b/ --until 2026-03-01T14:05 \
         --max-objects 3 --max-uses 1 --purpose 'batch 7'",
        "grant list acme --mine",
        "grant show acme GRANT",
        "grant revoke acme GRANT --note why",
        "audit log acme --since 2h --until 2026-03-01 --event release --event denied --vendor labelco --key KEY \
         --grant GRANT --dataset rlhf --prefix math/ --outcome denied --limit 10 --from 3",
        "audit exposure acme --vendor labelco --output json",
        "audit exposure acme --key KEY --dataset rlhf --prefix math/ --since 2h --until 2026-03-01 --grant GRANT --summary",
        "audit export acme -o acme-ledger/",
        "audit prove acme 17 -o x.tlog-proof",
        "audit verify acme-ledger/ --since old/checkpoint",
        "completions bash",
        "man out",
    ] {
        let line = line.replace("KEY", KEY).replace("GRANT", GRANT);
        assert!(parse(&line).is_ok(), "{line}: {}", parse(&line).unwrap_err());
    }
}

#[test]
fn globals_stand_before_or_after_the_verb() {
    for line in [
        "--home h --output json --grant GRANT cat acme/rlhf/x",
        "cat acme/rlhf/x --home h --output json --grant GRANT",
        "cat --output json acme/rlhf/x --home h --grant GRANT",
    ] {
        let globals = parse(&line.replace("GRANT", GRANT)).unwrap().globals;
        assert_eq!(globals.home, Some("h".into()));
        assert_eq!(globals.output, crate::output::Format::Json);
        assert_eq!(globals.grant.map(|grant| grant.to_string()).as_deref(), Some(GRANT));
    }
}

#[test]
fn nonsense_is_refused_in_one_line() {
    for (line, why) in [
        ("frobnicate", "unrecognized subcommand 'frobnicate'"),
        ("put a", "TENANT/DATASET/PREFIX"),
        ("put", "not provided"),
        ("put a acme", "TENANT/DATASET/PREFIX"),
        ("put a acme/rlhf/../x", "no segment"),
        ("put a acme/rlhf/x --digits 7", "--split-lines"),
        ("put --split-lines a acme/rlhf/x/ --digits 0", "0"),
        ("put a acme/rlhf/x --if-absent --if-generation 1", "cannot be used with"),
        ("cat acme/rlhf/", "a path has 1 to 1024 bytes"),
        ("cat acme/rlhf/x --range 9-1", "a range is"),
        ("login 127.0.0.1:1", "--server-key"),
        ("login 127.0.0.1:1 --server-key SHA256:short", "a fingerprint is"),
        ("grant issue --to acme/labelco --read acme/rlhf/", "--for"),
        ("grant issue --to acme/labelco --for 1h", "--read"),
        ("grant issue --to acme/labelco --read acme/a/ --for 1h --until 2026-01-01", "cannot be used with"),
        ("grant issue --to acme/labelco --read acme/a/ --for 1y", "a length of time"),
        ("grant issue --to acme/labelco --read acme/a/ --for 1h --max-bytes many", "a size is"),
        ("grant show acme gr_1", "grant id"),
        ("audit log acme --event nothing", "there is no such event"),
        ("audit log acme --prefix math/", "--dataset"),
        ("audit log acme --since yesterday", "a time is"),
        ("tenant create acme", "--admin"),
        ("tenant create ACME --admin KEY", "a name is"),
    ] {
        let error = parse(&line.replace("KEY", KEY)).expect_err(line);
        let failure = crate::exit::of_clap(&error).expect_err(line).to_string();
        assert!(failure.starts_with("USAGE: ") && failure.contains(why), "{line}: {failure}");
        assert!(!failure.contains('\n') && failure.ends_with("--help has examples"), "{failure}");
    }
}

#[test]
fn every_verb_has_examples_that_parse() {
    fn check(command: &Command, path: &str) {
        if command.has_subcommands() && command.get_name() != "strongroom" {
            return command.get_subcommands().for_each(|verb| check(verb, &format!("{path} {}", verb.get_name())));
        }
        let help = command.get_after_help().unwrap_or_else(|| panic!("{path} has no examples")).to_string();
        let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
        let examples: Vec<_> = examples.lines().take_while(|line| !line.trim().is_empty()).collect();
        assert!(!examples.is_empty(), "{path} has no examples");
        for example in examples {
            let example = example.replace("SHA256:…", KEY).replace('"', "'");
            // What a shell would make of the line is not looked at, only the plain ones are parsed.
            if example.contains(['|', '>', '$', '&', '…']) {
                continue;
            }
            // As a shell does, too: a remark is no part of the line.
            let example = example.split(" #").next().unwrap_or_default();
            let line = example.trim().strip_prefix("strongroom ").unwrap_or_else(|| panic!("{path}: {example}"));
            assert!(parse(line).is_ok(), "{path}: {line}: {}", parse(line).unwrap_err());
        }
    }
    let command = Cli::command();
    check(&command, "strongroom");
    command.get_subcommands().for_each(|verb| check(verb, verb.get_name()));
}

#[test]
fn every_flag_and_verb_says_what_it_is() {
    fn check(command: &Command, path: &str) {
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments().filter(|argument| !argument.is_global_set()) {
            assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
        }
        command.get_subcommands().for_each(|verb| check(verb, &format!("{path} {}", verb.get_name())));
    }
    check(&Cli::command(), "strongroom");
}
