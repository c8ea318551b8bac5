//! RFC 8785 (JSON canonicalisation) for the part of JSON that the log uses: objects, arrays, strings and integers of at most 53 bits.
//! Fractions, booleans and null are refused, so that no reader can disagree about a byte.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

/// The largest integer that every JSON reader keeps exactly: 2^53 - 1.
pub const LARGEST: i64 = (1 << 53) - 1;

/// Something that has no canonical form here.
#[derive(Debug, Error)]
pub enum CanonicalError {
    /// A number with a fraction, or beyond 53 bits.
    #[error("the number {0} is not an integer of at most 53 bits")]
    Number(String),
    /// True, false or null.
    #[error("{0} is neither text, an integer, a list nor an object")]
    Kind(&'static str),
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but not written the one way.
    #[error("JSON, but not in canonical form")]
    Form,
}

/// The canonical bytes of `value`.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, &value)?;
    Ok(out)
}

/// Reads `bytes`, and refuses them if they are not exactly the canonical form of what they say. That refuses doubled keys, spaces and
/// any other way to say the same thing.
pub fn parse(bytes: &[u8]) -> Result<Value, CanonicalError> {
    let value: Value = serde_json::from_slice(bytes)?;
    let mut again = Vec::with_capacity(bytes.len());
    write_value(&mut again, &value)?;
    if again == bytes { Ok(value) } else { Err(CanonicalError::Form) }
}

fn write_value(out: &mut Vec<u8>, value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Number(number) => {
            let integer = number.as_i64().filter(|n| (-LARGEST..=LARGEST).contains(n));
            let integer = integer.ok_or_else(|| CanonicalError::Number(number.to_string()))?;
            out.extend_from_slice(integer.to_string().as_bytes());
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // RFC 8785 3.2.3: by UTF-16 code units, which differs from the order of UTF-8 bytes above U+FFFF.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (i, (key, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(out, key);
                out.push(b':');
                write_value(out, member)?;
            }
            out.push(b'}');
        }
        Value::Bool(_) => return Err(CanonicalError::Kind("a boolean")),
        Value::Null => return Err(CanonicalError::Kind("null")),
    }
    Ok(())
}

/// RFC 8785 3.2.2.2: the short escapes, \u00xx in lower case for the other controls, everything else as it is.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn canonical(text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap();
        String::from_utf8(encode(&value).unwrap()).unwrap()
    }

    #[test]
    fn strings_as_in_the_rfc() {
        // RFC 8785 3.2.2, the "string" member of the sample.
        let sample = r#"{"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"}"#;
        assert_eq!(canonical(sample), "{\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
        assert_eq!(canonical(r#""\b\t\n\f\r\u0000\u007f\u2028""#), "\"\\b\\t\\n\\f\\r\\u0000\u{7f}\u{2028}\"");
    }

    #[test]
    fn keys_are_sorted_as_in_the_rfc() {
        // RFC 8785 3.2.3.
        let sample = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
        let written = canonical(sample);
        let order = ["Carriage Return", "One", "Control", "Latin Small", "Euro Sign", "Emoji: Grinning", "Hebrew Letter"];
        let places: Vec<_> = order.iter().map(|name| written.find(name).unwrap()).collect();
        assert!(places.is_sorted(), "{written}");
    }

    #[test]
    fn only_text_and_integers() {
        for bad in ["1.5", "1e300", "-0", "9007199254740992", "18446744073709551615", "true", "null", "[null]", "{\"a\":false}"] {
            assert!(encode(&serde_json::from_str::<Value>(bad).unwrap()).is_err(), "{bad}");
        }
        assert_eq!(canonical("[-9007199254740991, 0, {\"b\": 1, \"a\": []}]"), "[-9007199254740991,0,{\"a\":[],\"b\":1}]");
    }

    #[test]
    fn one_way_to_say_it() {
        for bad in ["{\"a\":1 }", "{\"b\":1,\"a\":1}", "{\"a\":1,\"a\":1}", "\"\\u0041\"", "01", "", "{", "\"\\ud800\"", "1\n"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(parse(b"{\"a\":1}").unwrap(), json!({"a": 1}));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<String>().prop_map(Value::from), (-LARGEST..=LARGEST).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(value in values()) {
            let bytes = encode(&value).unwrap();
            prop_assert_eq!(parse(&bytes).unwrap(), value);
        }
    }
}
