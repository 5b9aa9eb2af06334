//! One spelling for texts that say the same.
//!
//! Two spellings of a record differ in the order of JSON's keys, in white space, in how a character is escaped or composed. All of
//! these become one. Nothing else does: case, punctuation and the order of lists are what was written.

use serde_json::Value;
use unicode_normalization::{UnicodeNormalization, is_nfc_quick};

/// The one spelling of a text; `None` if it is no UTF-8, or nothing but white space.
///
/// What is JSON comes out as JSON: keys in the order of their bytes, no white space between tokens, numbers in their shortest form
/// (`1.0` and `1` are one). Strings in it, and texts that are no JSON, are in Unicode's NFC, with each run of white space as one
/// space, and none at either end. A mark of byte order at the start does not count.
pub fn normal(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    let first = text.bytes().next()?;
    // Words are no JSON: most texts are told by their first character.
    let may_be_json = matches!(first, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
    let mut out = Vec::with_capacity(text.len());
    match may_be_json.then(|| serde_json::from_str::<Value>(text)) {
        Some(Ok(value)) => write(&value, &mut out),
        _ => out.extend_from_slice(plain(text).as_bytes()),
    }
    (!out.is_empty()).then_some(out)
}

/// A text in NFC, with each run of white space as one space.
fn plain(text: &str) -> String {
    let is_composed = text.is_ascii() || is_nfc_quick(text.chars()) == unicode_normalization::IsNormalized::Yes;
    match is_composed {
        true => spaced(text.chars(), text.len()),
        false => spaced(text.nfc(), text.len()),
    }
}

fn spaced(chars: impl Iterator<Item = char>, size: usize) -> String {
    let mut out = String::with_capacity(size);
    let mut space = false;
    for char in chars {
        if char.is_whitespace() {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) && !out.is_empty() {
            out.push(' ');
        }
        out.push(char);
    }
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(is) => out.extend_from_slice(if *is { b"true" } else { b"false" }),
        Value::Number(number) => out.extend_from_slice(shortest(number).as_bytes()),
        Value::String(text) => string(&plain(text), out),
        Value::Array(values) => {
            out.push(b'[');
            for (at, value) in values.iter().enumerate() {
                separate(at, out);
                write(value, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // Sorted after their keys have one spelling; two that become one stay two.
            let mut fields: Vec<(String, &Value)> = fields.iter().map(|(name, value)| (plain(name), value)).collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            out.push(b'{');
            for (at, (name, value)) in fields.iter().enumerate() {
                separate(at, out);
                string(name, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

fn separate(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Beyond 2⁵³, floating point has no whole numbers of its own.
const WHOLE: f64 = 9_007_199_254_740_992.0;

fn shortest(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < WHOLE => format!("{}", float as i64),
        Some(float) if number.is_f64() => format!("{float:e}"),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &str) -> String {
        String::from_utf8(normal(bytes.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn spellings_of_one_thing_are_one() {
        for (spelled, one) in [
            (r#"{"b": 1.0, "a": "x"}"#, r#"{"a":"x","b":1}"#),
            (" {\t\"a\" :[1 , 2 ],\n\"b\":null}\r\n", r#"{"a":[1,2],"b":null}"#),
            (r#"{"a":"caf\u0065\u0301"}"#, "{\"a\":\"caf\u{e9}\"}"),
            ("cafe\u{301}  au\u{a0}lait\n", "caf\u{e9} au lait"),
            ("\u{feff}plain  words", "plain words"),
            ("{not json}", "{not json}"),
            (r#""a \" \\ b""#, r#""a \" \\ b""#),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("0.10", "1e-1"),
            ("18446744073709551615", "18446744073709551615"),
            (
                r#"{"a":"x
y"}"#,
                r#"{"a":"x y"}"#,
            ),
        ] {
            assert_eq!(text(spelled), one, "{spelled:?}");
        }
        for nothing in ["", " \n\t", "\u{feff}"] {
            assert_eq!(normal(nothing.as_bytes()), None, "{nothing:?}");
        }
        assert_eq!(normal(&[0xff, 0x41]), None, "no text");
    }

    #[test]
    fn what_differs_stays_apart() {
        let differ = [
            r#"{"a":"x"}"#,
            r#"{"a":"X"}"#,
            r#"{"A":"x"}"#,
            r#"{"a":["x"]}"#,
            r#"{"a":"x","b":null}"#,
            r#"["a","x"]"#,
            r#"["x","a"]"#,
            r#""a x""#,
            "a x",
            "a, x",
            "ax",
            "1",
            "\"1\"",
            "1.5",
            "true",
        ];
        let all: std::collections::BTreeSet<String> = differ.iter().map(|spelled| text(spelled)).collect();
        assert_eq!(all.len(), differ.len(), "{all:?}");
    }

    /// JSON values without floating point, which proptest would print in more digits than are read.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z \\\\\"\u{e9}\u{301}\t\u{1f600}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                btree_map("[a-c\u{e9}]{1,3}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// The same value, spelled as `draw` says: white space, keys backwards, characters escaped or taken apart.
    fn spell(value: &Value, draw: &mut impl FnMut() -> u8, out: &mut String) {
        let space = |out: &mut String, draw: &mut dyn FnMut() -> u8| {
            out.push_str([" ", "\n", "\t ", ""][usize::from(draw() % 4)])
        };
        match value {
            Value::Array(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    space(out, draw);
                    spell(value, draw, out);
                    space(out, draw);
                }
                out.push(']');
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                if draw().is_multiple_of(2) {
                    fields.reverse();
                }
                out.push('{');
                for (at, (name, value)) in fields.into_iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    space(out, draw);
                    spell(&Value::from(name.clone()), draw, out);
                    space(out, draw);
                    out.push(':');
                    spell(value, draw, out);
                }
                out.push('}');
            }
            Value::String(text) => {
                out.push('"');
                let apart: String = if draw().is_multiple_of(2) { text.nfd().collect() } else { text.clone() };
                for char in apart.chars() {
                    match char {
                        '"' | '\\' => out.extend(['\\', char]),
                        _ if char.is_control() || draw().is_multiple_of(3) => {
                            let mut units = [0; 2];
                            char.encode_utf16(&mut units).iter().for_each(|unit| *out += &format!("\\u{unit:04x}"));
                        }
                        char => out.push(char),
                    }
                }
                out.push('"');
            }
            value => *out += &value.to_string(),
        }
    }

    proptest! {
        #[test]
        fn a_json_value_has_one_spelling(value in json(), seed in vec(any::<u8>(), 1..40)) {
            let plain = value.to_string();
            let one = normal(plain.as_bytes()).unwrap();
            let mut at = 0;
            let mut draw = || { at += 1; seed[at % seed.len()] };
            let mut spelled = String::new();
            spell(&value, &mut draw, &mut spelled);
            prop_assert_eq!(normal(spelled.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap()), Some(String::from_utf8(one.clone()).unwrap()), "{}", spelled);
            // And it is its own.
            prop_assert_eq!(normal(&one), Some(one));
        }

        #[test]
        fn a_text_has_one_spelling(words in vec("[a-z\u{e9}\u{fc}.,!]{1,6}", 1..8), spaces in vec("[ \t\u{a0}\u{2003}\r\n]{1,3}", 8)) {
            let joined = words.join(" ");
            let one = normal(joined.as_bytes());
            let mut spelled = spaces[0].clone();
            for (word, space) in words.iter().zip(&spaces) {
                spelled.extend(word.nfd());
                spelled.push_str(space);
            }
            prop_assert_eq!(normal(spelled.as_bytes()), one.clone(), "{:?}", spelled);
            prop_assert_eq!(normal(one.as_ref().unwrap()), one);
        }
    }
}
