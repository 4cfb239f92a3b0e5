//! The functions of templates: Go's built-in ones and docker's additions.
//!
//! It must not know the grammar. The additions are those of docker's `templates` package, as in docker's
//! manual under "Format command and log output".

use super::print;
use super::value::Val;
use imgpack::text;
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt::Write;

/// Most spaces `pad` adds on a side: the number may come from the data.
const SPACES: i64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Func {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Index,
    Slice,
    Print,
    Println,
    Printf,
    Json,
    Join,
    Split,
    Upper,
    Lower,
    Title,
    Pad,
    Truncate,
}

/// Name, function, fewest and most arguments.
const TABLE: [(&str, Func, usize, usize); 23] = [
    ("and", Func::And, 1, usize::MAX),
    ("or", Func::Or, 1, usize::MAX),
    ("not", Func::Not, 1, 1),
    ("eq", Func::Eq, 2, usize::MAX),
    ("ne", Func::Ne, 2, 2),
    ("lt", Func::Lt, 2, 2),
    ("le", Func::Le, 2, 2),
    ("gt", Func::Gt, 2, 2),
    ("ge", Func::Ge, 2, 2),
    ("len", Func::Len, 1, 1),
    ("index", Func::Index, 1, usize::MAX),
    ("slice", Func::Slice, 1, 3),
    ("print", Func::Print, 0, usize::MAX),
    ("println", Func::Println, 0, usize::MAX),
    ("printf", Func::Printf, 1, usize::MAX),
    ("json", Func::Json, 1, 1),
    ("join", Func::Join, 2, 2),
    ("split", Func::Split, 2, 2),
    ("upper", Func::Upper, 1, 1),
    ("lower", Func::Lower, 1, 1),
    ("title", Func::Title, 1, 1),
    ("pad", Func::Pad, 3, 3),
    ("truncate", Func::Truncate, 2, 2),
];

impl Func {
    pub(super) fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    pub(super) fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }

    /// Whether it can be called with so many arguments; the error is in Go's words.
    pub(super) fn accepts(self, count: usize) -> Result<(), String> {
        let Some((name, _, least, most)) = TABLE.iter().find(|row| row.1 == self) else {
            return Ok(());
        };
        if (*least..=*most).contains(&count) {
            return Ok(());
        }
        let at_least = if least == most { "" } else { "at least " };
        Err(format!("wrong number of args for {name}: want {at_least}{least} got {count}"))
    }

    /// Whether an argument of this truth decides `and` or `or`.
    pub(super) fn decided_by(self, truth: bool) -> bool {
        match self {
            Self::And => !truth,
            Self::Or => truth,
            _ => false,
        }
    }
}

/// Calls a function with as many arguments as it accepts.
pub(super) fn call<'a>(
    func: Func,
    mut args: Vec<Val<'a>>,
    header: bool,
) -> Result<Val<'a>, String> {
    use Func::*;
    let null = || Val::own(Value::Null);
    Ok(match (func, &args[..]) {
        // A column's name is not a value to encode, cut or join.
        (Json | Upper | Lower | Title | Truncate, [value, ..]) | (Join, [value, _])
            if header && value.value.is_string() =>
        {
            args.swap_remove(0)
        }
        (And | Or, _) => args.pop().unwrap_or_else(null),
        (Not, [value]) => Val::own(!value.truth()),
        (Eq, [left, rest @ ..]) => {
            let mut same = false;
            for right in rest {
                same = same || equal(&left.value, &right.value)?;
            }
            Val::own(same)
        }
        (Ne, [left, right]) => Val::own(!equal(&left.value, &right.value)?),
        (Lt, [left, right]) => Val::own(order(&left.value, &right.value)?.is_lt()),
        (Le, [left, right]) => Val::own(order(&left.value, &right.value)?.is_le()),
        (Gt, [left, right]) => Val::own(order(&left.value, &right.value)?.is_gt()),
        (Ge, [left, right]) => Val::own(order(&left.value, &right.value)?.is_ge()),
        (Len, [value]) => Val::own(match &*value.value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            Value::Null => return Err("len of nil pointer".to_string()),
            other => return Err(format!("len of type {}", type_name(other))),
        }),
        (Index, [value, keys @ ..]) => {
            let mut value = value.clone();
            for key in keys {
                value = index(&value, &key.value)?;
            }
            value
        }
        (Slice, [value, ends @ ..]) => slice(value, ends)?,
        (Print, _) => Val::own(print::print(&args)),
        (Println, _) => Val::own(print::println(&args)),
        (Printf, [format, rest @ ..]) => {
            string(format)?;
            Val::own(print::printf(&print::shown(format), rest))
        }
        (Json, [value]) => Val::own(json(&value.value)),
        (Join, [list, between]) => join(list, between)?,
        (Split, [value, at]) => {
            let (whole, at) = (string(value)?, string(at)?);
            value.derive(match at {
                // Go splits at nothing into characters, without the empty ends that Rust adds.
                "" => whole.chars().map(String::from).collect::<Vec<_>>(),
                _ => whole.split(at).map(String::from).collect(),
            })
        }
        (Upper, [value]) => value.derive(string(value)?.to_uppercase()),
        (Lower, [value]) => value.derive(string(value)?.to_lowercase()),
        (Title, [value]) => value.derive(title(string(value)?)),
        (Pad, [value, before, after]) => {
            let spaces = |n: &Val| match n.value.as_i64() {
                Some(n) if (0..=SPACES).contains(&n) => Ok(" ".repeat(n as usize)),
                _ => Err(format!("cannot pad with {} spaces", print::shown(n))),
            };
            match string(value)? {
                "" => value.derive(""),
                whole => value.derive(format!("{}{whole}{}", spaces(before)?, spaces(after)?)),
            }
        }
        (Truncate, [value, most]) => match most.value.as_u64() {
            Some(most) => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                value.derive(string(value)?.chars().take(most).collect::<String>())
            }
            None => return Err(format!("cannot cut to {} characters", print::shown(most))),
        },
        _ => return Err("wrong number of args".to_string()),
    })
}

/// What Go calls the type of a value.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn string<'v>(value: &'v Val) -> Result<&'v str, String> {
    let other = type_name(&value.value);
    value
        .value
        .as_str()
        .ok_or_else(|| format!("wrong type for value; expected string; got {other}"))
}

fn number_order(left: &serde_json::Number, right: &serde_json::Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64().partial_cmp(&right.as_f64()),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            Ok(number_order(left, right) == Some(Ordering::Equal))
        }
        (Value::Null, _) | (_, Value::Null) => Ok(left == right),
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => {
            Ok(left == right)
        }
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable type".to_string())
        }
        _ => Err("incompatible types for comparison".to_string()),
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => number_order(left, right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
    .ok_or_else(|| "incompatible types for comparison".to_string())
}

fn index<'a>(value: &Val<'a>, key: &Value) -> Result<Val<'a>, String> {
    match (&*value.value, key) {
        (Value::Array(list), Value::Number(n)) => {
            match n.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) if n < list.len() => {
                    Ok(value.part(|list| list.get(n)).unwrap_or_else(|| Val::own(Value::Null)))
                }
                _ => Err(format!("index out of range: {n}")),
            }
        }
        (Value::Array(_), other) => {
            Err(format!("cannot index slice/array with type {}", type_name(other)))
        }
        (Value::Object(map), Value::String(key)) => {
            // Docker holds labels as a map of strings, where what is missing is the empty string.
            let strings = map.values().all(Value::is_string);
            let missing = || Val::own(if strings { Value::from("") } else { Value::Null });
            Ok(value.part(|map| map.get(key)).unwrap_or_else(missing))
        }
        (Value::Object(_), other) => {
            Err(format!("value has type {}; should be string", type_name(other)))
        }
        // No labels at all are `null` in a configuration.
        (Value::Null, Value::String(_)) => Ok(Val::own("")),
        (Value::Null, _) => Err("index of untyped nil".to_string()),
        (other, _) => Err(format!("can't index item of type {}", type_name(other))),
    }
}

fn slice<'a>(value: &Val<'a>, ends: &[Val<'a>]) -> Result<Val<'a>, String> {
    let end = |n: usize, default: usize| match ends.get(n) {
        None => Ok(default),
        Some(end) => end
            .value
            .as_u64()
            .and_then(|end| usize::try_from(end).ok())
            .ok_or_else(|| format!("cannot index slice/array with {}", print::shown(end))),
    };
    let out = |from: usize, to: usize| match from > to {
        true => format!("invalid slice index: {from} > {to}"),
        false => format!("index out of range: {to}"),
    };
    match &*value.value {
        Value::String(text) => {
            let (from, to) = (end(0, 0)?, end(1, text.len())?);
            text.get(from..to).map(|text| value.derive(text)).ok_or_else(|| out(from, to))
        }
        Value::Array(list) => {
            let (from, to) = (end(0, 0)?, end(1, list.len())?);
            list.get(from..to).map(|list| value.derive(list)).ok_or_else(|| out(from, to))
        }
        other => Err(format!("can't slice item of type {}", type_name(other))),
    }
}

/// Elements that are foreign are escaped here, so that the separator can stay as the author wrote it.
fn join<'a>(list: &Val<'a>, between: &Val<'a>) -> Result<Val<'a>, String> {
    string(between)?;
    let between = print::shown(between);
    let mut out = String::new();
    match &*list.value {
        Value::Array(values) => {
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push_str(&between);
                }
                let value = Val { value: std::borrow::Cow::Borrowed(value), clean: list.clean };
                out.push_str(&print::shown(&value));
            }
        }
        // Go has nil lists where JSON has null.
        Value::Null => {}
        other => {
            let other = type_name(other);
            return Err(format!("wrong type for value; expected []string; got {other}"));
        }
    }
    Ok(Val::own(out))
}

/// JSON in which text cannot steer a terminal: serde_json escapes C0, this the rest.
fn json(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.chars().any(text::hostile) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if text::hostile(c) {
            // Every hostile character is in the basic plane, and stands within a string.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Go's `strings.Title`: a letter is upper-case when no letter, digit or underscore comes before it.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let starts = before.is_whitespace()
            || (before.is_ascii() && !before.is_ascii_alphanumeric() && before != '_');
        if starts {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        before = c;
    }
    out
}
