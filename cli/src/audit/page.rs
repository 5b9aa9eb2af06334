//! The answer as one page: a file that a browser opens from the disk, and that asks nobody for anything.
//!
//! Whoever reads it may know nothing of strongroom, and what stands in it is partly other people's: paths, notes, hosts. So the page
//! runs one script and one style, whose hashes its policy names, and no other; nothing of the data is ever taken for markup. The answer
//! stands in the page itself; tables, charts and the tree are made from the data by the script, a page of rows at a time.

mod data;

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use data_encoding::BASE64;
use strongroom_core::audit::Report;
use strongroom_core::audit::exposure::Since;
use strongroom_core::identity::sha256;

use self::data::Escaped;
use crate::amount::{Size, counted};
use crate::audit::asked::{place, who};
use crate::audit::exposure::summary::{claimed, erased_words, live_words, read_words};
use crate::audit::exposure::told::{shorten, vendor};
use crate::exit::{Failure, Outcome};
use crate::folder::pending;
use crate::name::short_key;
use crate::output::{note, printable};
use crate::when;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Writes the page.
///
/// # Errors
/// It cannot be written.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(&sha256(text.as_bytes())));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    let title = escaped(&title(report));
    let answer: String = answer(report)
        .into_iter()
        .map(|(head, words)| format!("<dt>{head}</dt><dd>{}</dd>\n", escaped(&words)))
        .collect();
    let unknown: String = erased_words(&report.exposure)
        .into_iter()
        .map(|words| format!("<p class=\"note\">Not known, since it was erased: {}</p>\n", escaped(&words)))
        .collect();
    let lead = escaped(&lead(report));
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {script}; style-src {style}; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#answer\">To the answer</a>\n\
         <header>\n<p class=\"soft\">strongroom · exposure report</p>\n<h1>{title}</h1>\n</header>\n<main id=\"answer\">\n\
         <p class=\"lead\">{lead}</p>\n{unknown}<dl class=\"answer\">\n{answer}</dl>\n{SECTIONS}</main>\n\
         <script type=\"application/json\" id=\"data\">"
    )?;
    serde_json::to_writer(Escaped(&mut *out), &data::of(report))?;
    write!(out, "</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

/// Writes the page into a file that appears whole, readable by its owner alone, and says so.
///
/// # Errors
/// It cannot be written.
pub(crate) fn save(path: &Path, report: &Report) -> Outcome {
    let (file, pending) = pending(path.to_owned())?;
    let mut out = BufWriter::new(file);
    let written = write(&mut out, report).and_then(|()| out.flush());
    written.map_err(|error| Failure::file(path, &error))?;
    pending.commit()?;
    note(&format!(
        "the page is {}: open it in a browser; it holds paths, addresses and words of people",
        path.display()
    ));
    Ok(())
}

/// What the script fills, and the words that explain it.
const SECTIONS: &str = "\
<nav class=\"parts\" aria-label=\"Parts of this page\"><a href=\"#h-days\">By day</a> <a href=\"#h-time\">Timeline</a> \
<a href=\"#h-who\">Who read</a> <a href=\"#h-tree\">What there is</a> <a href=\"#h-objects\">Objects</a> \
<a href=\"#h-grants\">Still open</a> <a href=\"#h-words\">Words</a></nav>
<noscript><p class=\"note\">The answer stands above. Tables and charts need JavaScript; it asks nobody for anything.</p></noscript>
<section aria-labelledby=\"h-days\"><h2 id=\"h-days\">Read by day</h2><div id=\"by-day\"></div><div id=\"days\"></div></section>
<section aria-labelledby=\"h-time\"><h2 id=\"h-time\">Timeline</h2><div id=\"timeline\"></div><div id=\"happenings\"></div></section>
<section aria-labelledby=\"h-who\"><h2 id=\"h-who\">Who read</h2>
<p class=\"soft\">A key is a person, a machine or a pipeline at the vendor, as the vendor gave it out.</p><div id=\"workers\"></div></section>
<section aria-labelledby=\"h-tree\"><h2 id=\"h-tree\">What there is, and how much of it was read</h2>
<div id=\"tree\" class=\"tree\"></div></section>
<section aria-labelledby=\"h-objects\"><h2 id=\"h-objects\">Exposed objects</h2><div id=\"objects\"></div></section>
<section aria-labelledby=\"h-grants\"><h2 id=\"h-grants\">Still open</h2><div id=\"grants\"></div></section>
<section aria-labelledby=\"h-words\"><h2 id=\"h-words\">How to read this page</h2>
<dl class=\"words\">
<dt>Exposed</dt><dd>The vault released the keys to it, so whoever held that key could read it, and may have kept a copy. It does not say \
that anybody did. A release counts whether the data arrived or not.</dd>
<dt>Object, segment</dt><dd>An object is a file in a dataset. It is sealed in segments of 64 KiB, each with its own key; what was released is \
known to the segment. Segments count from 0.</dd>
<dt>Read, read in all</dt><dd>Bytes read count each part once; bytes read in all count it as often as it was released.</dd>
<dt>Wrote it</dt><dd>They put the object themselves, and so knew it before it was sealed.</dd>
<dt>Grant</dt><dd>The permission under which keys are released: to whom, to what, until when. One that is over releases nothing more; \
what was read before stays read.</dd>
<dt>Order</dt><dd>A signed instruction that changes who may do what: a grant, a suspension, a new key.</dd>
<dt>Entry, ledger</dt><dd>No key is released without an entry in the ledger, which cannot be changed unnoticed. The numbers here are counted from \
its entries; an export of the ledger lets anybody count again.</dd>
<dt>Times and sizes</dt><dd>Times are UTC. 1 KiB is 1024 bytes, 1 MiB is 1024 KiB, 1 GiB is 1024 MiB.</dd>
</dl></section>
";

fn title(report: &Report) -> String {
    format!("What {} had in {}", who(&report.question), place(tenant(report), &report.question))
}

fn tenant(report: &Report) -> &str {
    report.exposure.tenant.as_ref().map_or("the tenant", |tenant| tenant.as_str())
}

/// The answer in one or two sentences.
fn lead(report: &Report) -> String {
    let (who, totals) = (who(&report.question), &report.exposure.totals);
    let time = match (report.question.since, report.question.until) {
        (None, None) => String::new(),
        (Some(since), None) => format!(" since {}", when::seconds(since)),
        (None, Some(until)) => format!(" until {}", when::seconds(until)),
        (Some(since), Some(until)) => format!(" from {} to {}", when::seconds(since), when::seconds(until)),
    };
    let rest = match totals.unattributed {
        0 => "By the ledger, nothing else was released to them.",
        _ => "What else the ledger says of them was erased in part: see below.",
    };
    match (totals.first, totals.last) {
        (Some(first), Some(last)) => format!(
            "Keys to {}, {}, were released to {who}{time}: the first on {}, the last on {} (UTC). Whoever had their keys could read \
             this. {rest}",
            counted(totals.objects, "object"),
            Size(totals.bytes),
            when::seconds(first.time),
            when::seconds(last.time),
        ),
        _ => format!("No key was released to {who}{time}. {rest}"),
    }
}

/// The answer, line by line.
fn answer(report: &Report) -> Vec<(&'static str, String)> {
    let (found, totals) = (&report.exposure, &report.exposure.totals);
    let mut lines = vec![("Exposed", read_words(totals))];
    if let Some((id, incident)) = &report.incident {
        let since =
            incident.since.map(|since| format!(", in doubt since {}", when::seconds(since))).unwrap_or_default();
        let note = incident.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        lines.push(("Incident", format!("{id}, opened on {}{since}{note}", when::seconds(incident.opened.time))));
    }
    if totals.written > 0 {
        let words = format!("{}, {}", counted(totals.written, "object"), Size(totals.written_bytes));
        lines.push(("Written by them", words));
    }
    lines.push((
        "Not exposed",
        match found.scope {
            Some(scope) => format!(
                "{}, {}: their grants covered {} at some time, and of these nothing was read",
                counted(scope.unreleased, "object"),
                Size(scope.unreleased_bytes),
                counted(scope.objects, "object"),
            ),
            None => "all but what is named here; it is not grants alone that let a session or an admin read".to_owned(),
        },
    ));
    lines.push(("Still open", live_words(found)));
    if !found.elsewhere.is_empty() {
        let grants = counted(found.elsewhere.len() as u64, "grant");
        lines.push((
            "By the same keys",
            format!("{grants} of others let keys that read this go on reading: see Still open"),
        ));
    }
    if let Some(blast) = report.blast.as_ref().filter(|blast| blast.until.is_some()) {
        let until = blast.until.map(when::seconds).unwrap_or_default();
        let (objects, bytes) = (counted(blast.total.objects, "object"), Size(blast.total.bytes));
        lines.push((
            "Could still be read",
            format!("at most {objects}, {bytes}, until {until}, unless it is taken away"),
        ));
    }
    let by = |key: &strongroom_core::audit::exposure::ByKey| {
        let of = key.vendor.map(|id| format!(" of {}", vendor(found, id))).unwrap_or_default();
        format!("{}{of} ({})", short_key(&key.key), Size(key.bytes_total))
    };
    if !found.keys.is_empty() {
        lines.push(("Who", shorten(&found.keys.iter().map(by).collect::<Vec<_>>())));
    }
    if !found.sources.is_empty() {
        lines.push(("From where", shorten(&found.sources.iter().cloned().collect::<Vec<_>>())));
    }
    if !found.claims.is_empty() {
        let claims: Vec<String> = found.claims.iter().map(claimed).collect();
        lines.push(("With what", format!("{}, by their own words", shorten(&claims))));
    }
    if totals.denied > 0 {
        lines.push(("Refused", format!("{}: nothing came out", counted(totals.denied, "attempt"))));
    }
    let kept = found.objects.iter().filter(|object| !object.read.is_empty());
    let kept = kept.filter(|object| matches!(object.since, Since::Current | Since::Unknown)).count() as u64;
    let since = [
        (totals.overwritten, "overwritten"),
        (totals.rekeyed, "re-keyed"),
        (totals.deleted, "deleted"),
        (totals.shredded, "shredded"),
        (kept, "unchanged"),
    ];
    let since: Vec<String> = since.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !since.is_empty() {
        lines.push(("Since then", format!("of the objects read, {}", since.join(", "))));
    }
    let stands = format!(
        "the first {} entries of the ledger of {}, looked at on {} (UTC)",
        found.size.0,
        tenant(report),
        when::seconds(found.now)
    );
    lines.push(("Counted from", stands));
    lines
}

/// Text for HTML, with nothing in it that acts on a reader or a browser.
fn escaped(text: &str) -> Cow<'static, str> {
    let mut out = String::with_capacity(text.len());
    for char in printable(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_and_the_style_end_where_their_elements_do() {
        for text in [SCRIPT, STYLE] {
            assert!(!text.contains("</") && !text.contains("<!--"));
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        for word in ["fetch(", "XMLHttpRequest", "innerHTML", "eval(", "http:", "https:", "import("] {
            assert!(!SCRIPT.replace("http://www.w3.org/2000/svg", "").contains(word), "{word}");
        }
    }

    #[test]
    fn text_is_never_markup() {
        assert_eq!(escaped("<b a='\"'>&\u{202e}"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;\\u{202e}");
    }
}
