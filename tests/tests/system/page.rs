//! The page of an exposure, in a browser: no error, nothing asked of anybody, and it searches, sorts and prints.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use strongroom_cli::audit::page;
use strongroom_core::audit::exposure::{
    ByDay, ByKey, Exposed, Exposure, Folder, InScope, OpenGrant, Run, Since, Totals,
};
use strongroom_core::audit::roster::{GrantStanding, Happening, Moment};
use strongroom_core::audit::{Question, Ranges, Report};
use strongroom_core::grant::Holder;
use strongroom_core::identity::Fingerprint;
use strongroom_core::ids::{Generation, GrantId, Index, Millis, SegmentRange, VendorId};
use strongroom_core::ledger::Event;
use strongroom_core::session::Claims;
use strongroom_test_services::{chromium, on_chromium};

/// 2026-03-24T10:39Z.
const START: u64 = 1_774_348_740_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// What an attacker would call an object.
const PATHS: [&str; 6] = [
    "math/<script>window.fired=1</script>",
    "math/<b><img src=x onerror=window.fired=1>",
    "math/\u{202e}gpj.exe",
    "math/\"'&amp;`${1}",
    "math/=cmd|'x'!A1",
    "math/--><!-- ]]>",
];

fn at(entry: u64) -> Moment {
    Moment { index: Index(entry), time: Millis(START + entry * 6_000) }
}

fn key(no: u8) -> Fingerprint {
    Fingerprint::from_bytes([no; 32])
}

/// Of a vendor with ten workers that read so many objects in a week.
fn report(objects: u64) -> Report {
    let vendor = VendorId::from_bytes([9; 16]);
    let mut ranges = Ranges::default();
    ranges.add(SegmentRange::new(0, 1).unwrap());
    ranges.add(SegmentRange::new(3, 8).unwrap());
    let exposed = |no: u64| {
        let path = match PATHS.get(no as usize) {
            Some(path) => (*path).to_owned(),
            None => format!("math/{:03}/needle {no}.json", no % 40),
        };
        let since = match no % 7 {
            0 => Since::Overwritten(at(objects + 1)),
            1 => Since::Deleted(at(objects + 2)),
            _ => Since::Current,
        };
        Exposed {
            put: Index(no),
            ordinal: 0,
            name: (no != 6).then(|| ("rlhf".parse().unwrap(), path.parse().unwrap())),
            generation: Generation(1),
            size: 1000 + no,
            read: ranges.clone(),
            bytes: 1000 + no,
            bytes_total: 2000 + 2 * no,
            releases: 2,
            first: Some(at(no)),
            last: Some(at(no + 1)),
            keys: BTreeSet::from([key((no % 10) as u8)]),
            grants: BTreeSet::from([GrantId::from_bytes([1; 16])]),
            sources: BTreeSet::from([format!("192.0.2.{}", no % 200)]),
            sources_erased: 0,
            claims: BTreeSet::new(),
            written: None,
            since,
        }
    };
    let per = objects / 10;
    let keys = (0..10_u8).map(|no| ByKey {
        key: key(no),
        vendor: Some(vendor),
        releases: per,
        bytes_total: (20 - u64::from(no)) << 20,
        first: at(0),
        last: at(objects),
    });
    let days = (0..7).flat_map(|day| {
        (0..10_u8).map(move |no| ByDay {
            day: Millis(START / DAY * DAY + day * DAY),
            key: key(no),
            releases: 10,
            bytes_total: ((day + 1) * u64::from(no + 1)) << 16,
        })
    });
    let runs = (0..40_u64).map(|no| Run {
        key: key((no % 10) as u8),
        first: at(no * objects / 40),
        last: at(no * objects / 40 + 300),
        releases: 30,
        parts: 60,
        bytes_total: no << 20,
    });
    let order = |entry: u64, event, note: Option<&str>| Happening {
        at: at(entry),
        event,
        by: key(200),
        vendor: Some(vendor),
        key: None,
        grant: None,
        dataset: None,
        incident: None,
        note: note.map(str::to_owned),
    };
    let folder = |no: u64| Folder {
        dataset: "rlhf".parse().unwrap(),
        folder: format!("math/{no:03}/"),
        objects: objects / 20,
        bytes: 100 << 20,
        read_objects: objects / 40,
        read_bytes: no << 20,
    };
    let exposure = Exposure {
        size: Index(objects * 2),
        now: at(objects + 3).time,
        tenant: Some("acme".parse().unwrap()),
        vendors: [(vendor, "labelco".parse().unwrap())].into(),
        totals: Totals {
            objects,
            bytes: 123 << 20,
            bytes_total: 246 << 20,
            releases: objects,
            first: Some(at(0)),
            last: Some(at(objects)),
            overwritten: objects.div_ceil(7),
            deleted: objects / 7,
            denied: 3,
            unnamed: 1,
            ..Totals::default()
        },
        keys: keys.collect(),
        days: days.collect(),
        runs: runs.collect(),
        orders: vec![
            order(0, Event::GrantIssued, None),
            order(objects + 1, Event::VendorSuspended, Some("</script><b>incident 42")),
        ],
        sources: BTreeSet::from(["192.0.2.1".to_owned()]),
        claims: vec![Claims { sdk: "<b>sdk".into(), host: "ci-7".into(), job: String::new() }],
        scope: Some(InScope {
            objects: objects * 2,
            unreleased: objects,
            unreleased_bytes: 5 << 30,
            ..InScope::default()
        }),
        grants: vec![OpenGrant {
            id: GrantId::from_bytes([1; 16]),
            holder: Holder::Vendor(vendor),
            expires: Millis(START + 30 * DAY),
            standing: GrantStanding::Suspended,
        }],
        elsewhere: Vec::new(),
        folders: (0..40).map(folder).collect(),
        objects: (0..objects).map(exposed).collect(),
    };
    let question = Question { vendor: Some("labelco".parse().unwrap()), ..Question::default() };
    Report { question, exposure, blast: None, incident: None }
}

/// What a browser saw of the page.
fn seen(report: &Report) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    page::write(&mut out, report).unwrap();
    std::io::Write::flush(&mut out).unwrap();
    let mut command = Command::new("python3");
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/page.py"));
    command.arg(chromium()).arg(&file).arg(folder.path().join("profile"));
    // To be looked at: a folder for screenshots and the printed page.
    if let Some(place) = std::env::var_os("STRONGROOM_TEST_SCREENSHOTS") {
        std::fs::copy(&file, std::path::Path::new(&place).join("page.html")).unwrap();
        command.arg(place);
    }
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

fn rows(table: &Value) -> Vec<Vec<&str>> {
    table["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap()).collect())
        .collect()
}

on_chromium! {
    #[test]
    fn a_page_of_a_hundred_thousand_objects_is_searched_sorted_and_printed() {
        let saw = seen(&report(100_000));
        assert_eq!(saw["console"], json!([]), "nothing is complained about");
        let asked = saw["asked"].as_array().unwrap();
        assert!(asked.len() == 1 && asked[0].as_str().unwrap().starts_with("file:"), "nobody is asked: {asked:?}");
        assert_eq!(saw["refused"], "TypeError", "no text becomes markup");
        assert_eq!((&saw["fired"], &saw["foreign"], &saw["nameless"], &saw["doubled"]), (&json!("undefined"), &json!(0), &json!(0), &json!(0)));

        assert_eq!(saw["title"], "What labelco had in acme");
        let lead = saw["lead"].as_str().unwrap();
        assert!(lead.starts_with("Keys to 100000 objects, 123 MiB, were released to labelco: the first on 2026-03-24 10:39:00"), "{lead}");
        assert!(saw["answer"]["Not exposed"].as_str().unwrap().starts_with("100000 objects, 5 GiB"), "{}", saw["answer"]);
        assert!(saw["answer"]["With what"].as_str().unwrap().starts_with("<b>sdk on ci-7"), "{}", saw["answer"]);
        // A page of rows, not all of them.
        assert!(saw["elements"].as_u64().unwrap() < 5000, "{}", saw["elements"]);
        assert_eq!(rows(&saw["objects"]).len(), 25);
        let of = "of 100\u{202f}000.";
        assert!(saw["objects"]["status"].as_str().unwrap().ends_with(of), "{}", saw["objects"]["status"]);
        assert!(rows(&saw["last"]).len() == 25 && saw["last"]["status"].as_str().unwrap().contains("99\u{202f}976 to 100\u{202f}000"));

        // Names are text, whatever stands in them.
        let names: Vec<&str> = rows(&saw["smallest"]).iter().map(|row| row[0]).collect();
        let expected = PATHS.map(|path| format!("rlhf/{}", path.replace('\u{202e}', "\\u{202e}")));
        assert_eq!(names[..6], expected);
        assert_eq!(names[6], "erased (6.0)");
        assert!(rows(&saw["biggest"])[0][0].ends_with("needle 99999.json"), "{}", saw["biggest"]["rows"][0]);
        assert_eq!(saw["biggest"]["heads"][2], json!(["Size", "descending"]));
        assert_eq!(saw["smallest"]["heads"][2], json!(["Size", "ascending"]));
        let found = rows(&saw["found"]);
        assert!(found.len() == 1 && found[0][0] == "rlhf/math/017/needle 77777.json", "{found:?}");
        assert_eq!((found[0][5], found[0][6]), ("2", "0, 3–7"));
        assert!(rows(&saw["nothing"]).is_empty() && rows(&saw["all"]).len() == 25);
        assert_eq!(saw["by keyboard"], json!(["Object", "ascending"]));
        assert_eq!(saw["first stop"], "To the answer");

        assert_eq!(rows(&saw["workers"]).len(), 10);
        // What the chart by day shows, in words: seven days of ten workers.
        let days = rows(&saw["days"]);
        assert!(saw["days"]["status"].as_str().unwrap().ends_with("of 70."), "{}", saw["days"]["status"]);
        assert!(days[0][0] == "2026-03-24" && days[0][1].ends_with("(labelco)") && days[0][2] == "10", "{:?}", days[0]);
        assert_eq!(rows(&saw["grants"])[0][1..3], ["labelco", "suspended"]);
        let happenings = rows(&saw["happenings"]);
        assert_eq!(saw["happenings"]["status"].as_str().unwrap(), "Rows 1 to 25 of 42.");
        assert!(happenings.iter().any(|row| row[1].starts_with("grant.issued: labelco")), "{happenings:?}");
        // Seven days of ten workers, of whom the last three share a colour; forty runs.
        assert_eq!(saw["charts"], json!({ "by-day": 56, "timeline": 40 }));
        let tree: Vec<&str> = saw["tree"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(tree[..2], ["rlhf/", "math/"]);

        assert_ne!(saw["light"], saw["dark"], "it is read in the dark");
        let print = &saw["print"];
        assert!(print["pdf"] == "%PDF-" && print["bytes"].as_u64().unwrap() > 50_000, "{print}");
        assert_eq!((&print["rows"], &print["after"]), (&json!(2000), &json!(25)), "on paper there is more of it");
    }

    #[test]
    fn a_page_of_nothing_says_so() {
        let mut report = report(0);
        report.exposure = Exposure {
            objects: Vec::new(), keys: Vec::new(), days: Vec::new(), runs: Vec::new(), orders: Vec::new(), folders: Vec::new(),
            grants: Vec::new(), totals: Totals::default(), ..report.exposure
        };
        let saw = seen(&report);
        assert_eq!((&saw["console"], &saw["charts"]), (&json!([]), &json!({ "by-day": 0, "timeline": 0 })));
        assert_eq!(saw["lead"], "No key was released to labelco. By the ledger, nothing else was released to them.");
        assert_eq!(saw["objects"]["status"], "Nothing was exposed.");
    }
}
