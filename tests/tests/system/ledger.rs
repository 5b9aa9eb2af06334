//! `ledger status` and `ledger check`: an operator or an admin sees how a ledger stands, and what is wrong with it where it is.

use serde_json::Value;
use strongroom_tests::shell::Shell;

use crate::export::exported;

fn status(shell: &mut Shell, who: &str) -> Value {
    let said = shell.run(&format!("strongroom --home {who} ledger status acme --output json")).ok();
    serde_json::from_str(said.text()).unwrap()
}

#[test]
fn an_operator_and_an_admin_see_how_a_ledger_stands() {
    let mut shell = exported();
    shell.run("strongroom --home lab audit watch acme --state watch/ --once --cosign watch.acme.example").ok();
    for who in ["lab", "./vault/operator"] {
        let status = status(&mut shell, who);
        assert_eq!(status["stopped"], Value::Null);
        assert_eq!(status["problems"], serde_json::json!([]));
        assert_eq!(status["signed"], status["copied"]);
        assert_eq!((&status["lag"], &status["signed"]), (&Value::from(0), &status["entries"]));
        assert_eq!(status["signed_root"], status["tip"]);
        assert!(status["witnesses"][0]["witness"].as_str().unwrap().starts_with("watch.acme.example+"));
        shell.run(&format!("strongroom --home {who} ledger check acme")).ok();
    }
    let said = shell.run("strongroom --home ./vault/operator ledger status").ok();
    assert!(said.text().starts_with("acme: goes on"), "{}", said.text());
    for verb in ["status", "check"] {
        shell.run(&format!("strongroom --home labelco ledger {verb} acme")).fails(4, "OUT_OF_SCOPE");
        shell.run(&format!("strongroom --home lab ledger {verb} other")).fails(4, "UNAUTHENTICATED");
    }
    shell.run("strongroom --home lab ledger status").fails(4, "OUT_OF_SCOPE");
    assert!(shell.server().terminate().success());
}
