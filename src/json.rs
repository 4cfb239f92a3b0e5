//! Strict JSON: one meaning, bounded depth, nothing after the value.
//!
//! It knows nothing of images. Engines disagree on repeated keys, on keys that differ only in case
//! and on bytes after the value. A document with any of these is refused, so that every engine reads
//! what was checked here.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};

/// Deepest nesting of arrays and objects (serde_json's own limit, kept on).
pub const MAX_DEPTH: usize = 128;

/// Objects whose keys are data, where two keys may differ only in case.
const FREE_KEYS: [&str; 5] = ["annotations", "labels", "volumes", "exposedports", "layersources"];

/// Parses one JSON value strictly.
///
/// # Errors
/// `Malformed` for anything that is not exactly one value, for a repeated key, and for keys that
/// differ only in case.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { free: false }.deserialize(&mut from).map_err(|e| bad(&e))?;
    from.end().map_err(|e| bad(&e))?;
    Ok(value)
}

/// Parses one JSON object strictly.
///
/// # Errors
/// As [`parse`], and when the value is not an object.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>> {
    match parse(bytes)? {
        Value::Object(map) => Ok(map),
        other => Err(Error::malformed(format!("expected a JSON object, found {}", kind(&other)))),
    }
}

/// What a value is, for messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Compact JSON with `<`, `>`, `&` and the line separators escaped, as Go's encoder writes it.
pub fn go_compact(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        // These occur only inside strings, where an escape means the same character.
        match c {
            '<' => out.extend_from_slice(b"\\u003c"),
            '>' => out.extend_from_slice(b"\\u003e"),
            '&' => out.extend_from_slice(b"\\u0026"),
            '\u{2028}' => out.extend_from_slice(b"\\u2028"),
            '\u{2029}' => out.extend_from_slice(b"\\u2029"),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn bad(err: &serde_json::Error) -> Error {
    if err.line() == 0 {
        return Error::malformed(format!("invalid JSON: {err}"));
    }
    let text = err.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    Error::malformed(format!("invalid JSON: {}", crate::text::escape(what))).at(format!(
        "line {}, column {}",
        err.line(),
        err.column()
    ))
}

struct Strict {
    /// Keys of this object are data.
    free: bool,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict { free: false })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let mut folded = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let lower = key.to_lowercase();
            let free = FREE_KEYS.contains(&lower.as_str());
            if out.contains_key(&key) {
                return Err(de::Error::custom(format!("ambiguous: key {key:?} occurs twice")));
            }
            if !self.free && !folded.insert(lower) {
                return Err(de::Error::custom(format!(
                    "ambiguous: key {key:?} occurs twice in different case"
                )));
            }
            let value = map.next_value_seed(Strict { free })?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_with_more_than_one_meaning_are_refused() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"Config":1,"config":2}"#,
            r#"[{"x":{"b":1,"B":1}}]"#,
            r#"{"a":1} {"b":2}"#,
            r#"{"a":1}x"#,
            "\u{feff}{}",
            "",
            "{",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(&[b'['; 200_000]).is_err());
    }

    #[test]
    fn labels_may_differ_in_case() {
        assert!(parse(br#"{"config":{"Labels":{"a":"1","A":"2"}}}"#).is_ok());
        assert!(parse(br#"{"config":{"Labels":{"a":"1","a":"2"}}}"#).is_err());
    }

    #[test]
    fn order_is_kept_and_html_is_escaped_as_go_does() {
        let value = parse(br#"{"b":"<&>","a":1}"#).unwrap();
        assert_eq!(go_compact(&value), br#"{"b":"\u003c\u0026\u003e","a":1}"#);
    }
}
