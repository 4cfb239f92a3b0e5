//! Values as Go's `fmt` prints them: `%v` for results, and `printf`.
//!
//! It must not know templates. Of Go's verbs it has those that make sense for JSON values
//! (<https://pkg.go.dev/fmt#hdr-Printing>); a verb that does not fit its value prints Go's `%!d(string=a)`.

use super::value::Val;
use imgpack::text;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write;

/// Widest field `printf` pads to; beyond it Go prints `%!(BADWIDTH)`, at a higher limit.
const WIDTH: usize = 4096;

/// The text of a value, escaped when it is foreign.
pub(super) fn shown<'v>(value: &'v Val) -> Cow<'v, str> {
    let plain = match &*value.value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(formatted(&Spec::default(), other)),
    };
    safe(plain, value.clean)
}

fn safe(plain: Cow<'_, str>, clean: bool) -> Cow<'_, str> {
    if clean {
        return plain;
    }
    match text::escape_long(&plain) {
        Cow::Owned(escaped) => Cow::Owned(escaped),
        Cow::Borrowed(_) => plain,
    }
}

/// Go's `Sprint`: a space between two operands of which neither is a string.
pub(super) fn print(args: &[Val]) -> String {
    let mut out = String::new();
    for (n, arg) in args.iter().enumerate() {
        if n > 0 && !arg.value.is_string() && !args[n - 1].value.is_string() {
            out.push(' ');
        }
        out.push_str(&shown(arg));
    }
    out
}

/// Go's `Sprintln`: a space between all operands and a newline at the end.
pub(super) fn println(args: &[Val]) -> String {
    let mut out = args.iter().map(shown).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// One `%…` of a format.
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
    verb: char,
}

impl Default for Spec {
    fn default() -> Self {
        let (width, precision) = (None, None);
        Self {
            minus: false,
            plus: false,
            sharp: false,
            zero: false,
            space: false,
            width,
            precision,
            verb: 'v',
        }
    }
}

/// Go's `Sprintf`, without explicit argument indices.
pub(super) fn printf(format: &str, args: &[Val]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let mut spec = Spec::default();
        rest = spec.read(after, &mut args, &mut out);
        match spec.verb {
            '\0' => out.push_str("%!(NOVERB)"),
            '%' => out.push('%'),
            verb => match args.next() {
                Some(arg) => {
                    let plain = formatted(&spec, &arg.value);
                    out.push_str(&safe(Cow::Owned(plain), arg.clean));
                }
                // Writing to a String cannot fail.
                None => drop(write!(out, "%!{verb}(MISSING)")),
            },
        }
    }
    out.push_str(rest);
    let extra: Vec<_> =
        args.map(|arg| format!("{}={}", type_name(&arg.value), shown(arg))).collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

impl Spec {
    /// Reads flags, width, precision and verb, and returns what follows them.
    fn read<'f, 'v>(
        &mut self,
        mut rest: &'f str,
        args: &mut impl Iterator<Item = &'v Val<'v>>,
        out: &mut String,
    ) -> &'f str {
        loop {
            match rest.as_bytes().first() {
                Some(b'-') => self.minus = true,
                Some(b'+') => self.plus = true,
                Some(b'#') => self.sharp = true,
                Some(b'0') => self.zero = true,
                Some(b' ') => self.space = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut count = |rest: &mut &'f str, error: &str| {
            let value = if let Some(after) = rest.strip_prefix('*') {
                *rest = after;
                args.next().and_then(|arg| arg.value.as_u64()).and_then(|n| usize::try_from(n).ok())
            } else {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (digits, after) = rest.split_at(end);
                *rest = after;
                if digits.is_empty() {
                    return None;
                }
                digits.parse().ok()
            };
            let value = value.filter(|value| *value <= WIDTH);
            if value.is_none() {
                out.push_str(error);
            }
            value
        };
        self.width = count(&mut rest, "%!(BADWIDTH)");
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            let none = !rest.starts_with(|c: char| c.is_ascii_digit() || c == '*');
            self.precision = if none { Some(0) } else { count(&mut rest, "%!(BADPREC)") };
        }
        self.verb = rest.chars().next().unwrap_or('\0');
        &rest[rest.chars().next().map_or(0, char::len_utf8)..]
    }

    /// Pads to the width; zeros go between a sign and the digits.
    fn pad(&self, body: &str, number: bool) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(body.chars().count());
        let fill = |c: &str| c.repeat(missing);
        match () {
            () if missing == 0 => body.to_string(),
            () if self.minus => format!("{body}{}", fill(" ")),
            () if self.zero && number => match body.strip_prefix(['-', '+', ' ']) {
                Some(digits) => format!("{}{}{digits}", &body[..1], fill("0")),
                None => format!("{}{body}", fill("0")),
            },
            () => format!("{}{body}", fill(" ")),
        }
    }

    /// A sign for a number that has none, when a flag asks for it.
    fn signed(&self, digits: String) -> String {
        match digits.starts_with('-') {
            false if self.plus => format!("+{digits}"),
            false if self.space => format!(" {digits}"),
            _ => digits,
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Null => "<nil>",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value under a verb; lists and maps apply the verb to what they hold. Not escaped yet.
fn formatted(spec: &Spec, value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(|item| formatted(spec, item)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_unstable_by_key(|(key, _)| *key);
            let items: Vec<_> = pairs
                .into_iter()
                .map(|(key, item)| format!("{}:{}", string(spec, key), formatted(spec, item)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        Value::String(text) => string(spec, text),
        Value::Number(number) => self::number(spec, number),
        Value::Bool(flag) if matches!(spec.verb, 'v' | 't') => spec.pad(&flag.to_string(), false),
        Value::Null if spec.verb == 'v' => spec.pad("<nil>", false),
        Value::Null => format!("%!{}(<nil>)", spec.verb),
        Value::Bool(flag) => format!("%!{}(bool={flag})", spec.verb),
    }
}

fn string(spec: &Spec, text: &str) -> String {
    let cut = || match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_string(),
    };
    let hex = |upper: bool| {
        let bytes = &text.as_bytes()[..spec.precision.unwrap_or(text.len()).min(text.len())];
        bytes.iter().fold(String::new(), |mut out, byte| {
            let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
            out
        })
    };
    let body = match spec.verb {
        'v' if spec.sharp => quoted(&cut()),
        'v' | 's' => cut(),
        'q' => quoted(&cut()),
        'x' => hex(false),
        'X' => hex(true),
        verb => return format!("%!{verb}(string={text})"),
    };
    spec.pad(&body, false)
}

/// Go's quoted form.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let short = match c {
            '"' | '\\' => Some(c),
            '\n' => Some('n'),
            '\t' => Some('t'),
            '\r' => Some('r'),
            '\x07' => Some('a'),
            '\x08' => Some('b'),
            '\x0b' => Some('v'),
            '\x0c' => Some('f'),
            _ => None,
        };
        let code = u32::from(c);
        // Writing to a String cannot fail.
        let _ = match short {
            Some(short) => write!(out, "\\{short}"),
            None if c.is_ascii_control() => write!(out, "\\x{code:02x}"),
            None if text::hostile(c) => write!(out, "\\u{code:04x}"),
            None => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

fn number(spec: &Spec, number: &serde_json::Number) -> String {
    let whole = number.as_i128();
    let float = number.as_f64().unwrap_or_default();
    let radix = |digits: String, sharp: &str| {
        let sign = if whole.is_some_and(|n| n < 0) { "-" } else { "" };
        format!("{sign}{}{digits}", if spec.sharp { sharp } else { "" })
    };
    let places = spec.precision.unwrap_or(6);
    let body = match (spec.verb, whole) {
        // Docker prints the numbers of documents under %s too: it keeps them as text.
        ('v' | 's', _) | ('d', Some(_)) => number.to_string(),
        ('x', Some(n)) => radix(format!("{:x}", n.unsigned_abs()), "0x"),
        ('X', Some(n)) => radix(format!("{:X}", n.unsigned_abs()), "0X"),
        ('o', Some(n)) => radix(format!("{:o}", n.unsigned_abs()), "0"),
        ('b', Some(n)) => radix(format!("{:b}", n.unsigned_abs()), "0b"),
        ('c', Some(n)) => {
            let c = u32::try_from(n).ok().and_then(char::from_u32);
            return spec.pad(&c.unwrap_or(char::REPLACEMENT_CHARACTER).to_string(), false);
        }
        ('f' | 'F', _) => format!("{float:.places$}"),
        ('g', None) if spec.precision.is_none() => number.to_string(),
        (verb, _) => {
            return format!(
                "%!{verb}({}={number})",
                if whole.is_some() { "int" } else { "float64" }
            );
        }
    };
    spec.pad(&spec.signed(body), true)
}
