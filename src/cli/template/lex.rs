//! Template text to tokens, with trim markers and comments already applied.
//!
//! It must not know the grammar. It follows the lexical part of Go's `text/template`
//! (<https://pkg.go.dev/text/template#hdr-Text_and_spaces>).

use imgpack::{Error, Kind as ErrorKind, Result};
use serde_json::Value;

/// A token and its place in the template, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) at: usize,
    pub(super) end: usize,
    /// White space came before it; `.A .B` are two operands, `.A.B` is one.
    pub(super) spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Text(String),
    Open,
    Close,
    /// `.Name`
    Field(String),
    /// `$name`, the sign included.
    Var(String),
    Ident(String),
    /// A string, number or character.
    Literal(Value),
    Dot,
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    Declare,
    Assign,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template; the last token is never inside an action.
pub(super) fn lex(src: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    loop {
        let open = src[at..].find("{{").map_or(src.len(), |n| at + n);
        let mut text = &src[at..open];
        if std::mem::take(&mut trim_next) {
            text = text.trim_start_matches(SPACE);
        }
        let inside = src.get(open + 2..).unwrap_or_default();
        let trim = inside.starts_with('-') && inside[1..].starts_with(SPACE);
        if trim {
            text = text.trim_end_matches(SPACE);
        }
        if !text.is_empty() {
            let kind = TokenKind::Text(text.to_string());
            tokens.push(Token { kind, at, end: open, spaced: false });
        }
        if open == src.len() {
            return Ok(tokens);
        }
        let body = open + 2 + if trim { 2 } else { 0 };
        if src[body..].starts_with("/*") {
            let end = src[body..]
                .find("*/")
                .map(|n| body + n + 2)
                .ok_or_else(|| fault(src, open, "unclosed comment"))?;
            (at, trim_next) = close(src, end)
                .ok_or_else(|| fault(src, open, "comment ends before closing delimiter"))?;
            continue;
        }
        tokens.push(Token { kind: TokenKind::Open, at: open, end: body, spaced: false });
        (at, trim_next) = action(src, body, &mut tokens)?;
    }
}

/// The end of the closing delimiter at `at`, if there is one, and whether it trims what follows.
fn close(src: &str, at: usize) -> Option<(usize, bool)> {
    let rest = &src[at..];
    if rest.starts_with("}}") {
        return Some((at + 2, false));
    }
    let marked = rest.strip_prefix(SPACE).is_some_and(|rest| rest.starts_with("-}}"));
    marked.then_some((at + 4, true))
}

/// Reads the tokens of one action and returns where its text goes on.
fn action(src: &str, mut at: usize, tokens: &mut Vec<Token>) -> Result<(usize, bool)> {
    let mut spaced = false;
    loop {
        if let Some((end, trim)) = close(src, at) {
            tokens.push(Token { kind: TokenKind::Close, at, end, spaced });
            return Ok((end, trim));
        }
        let rest = &src[at..];
        let Some(first) = rest.chars().next() else {
            return Err(fault(src, at, "unclosed action"));
        };
        if SPACE.contains(&first) {
            spaced = true;
            at += 1;
            continue;
        }
        let (kind, len) = token(src, at, first)?;
        tokens.push(Token { kind, at, end: at + len, spaced });
        at += len;
        spaced = false;
    }
}

/// One token inside an action and its length in bytes.
fn token(src: &str, at: usize, first: char) -> Result<(TokenKind, usize)> {
    let rest = &src[at..];
    let second = rest[first.len_utf8()..].chars().next();
    Ok(match first {
        '|' => (TokenKind::Pipe, 1),
        '(' => (TokenKind::LeftParen, 1),
        ')' => (TokenKind::RightParen, 1),
        ',' => (TokenKind::Comma, 1),
        '=' => (TokenKind::Assign, 1),
        ':' if second == Some('=') => (TokenKind::Declare, 2),
        '"' => quoted(src, at, '"')?,
        '\'' => {
            let (value, len) = quoted(src, at, '\'')?;
            let mut chars = match &value {
                TokenKind::Literal(Value::String(text)) => text.chars(),
                _ => "".chars(),
            };
            match (chars.next(), chars.next()) {
                (Some(c), None) => (TokenKind::Literal(u32::from(c).into()), len),
                _ => return Err(fault(src, at, "malformed character constant")),
            }
        }
        '`' => {
            let len = rest[1..]
                .find('`')
                .ok_or_else(|| fault(src, at, "unterminated raw quoted string"))?;
            (TokenKind::Literal(rest[1..=len].into()), len + 2)
        }
        '.' if !second.is_some_and(|c| c.is_ascii_digit()) => match word(&rest[1..]) {
            "" => (TokenKind::Dot, 1),
            name => (TokenKind::Field(name.to_string()), name.len() + 1),
        },
        '$' => {
            let len = word(&rest[1..]).len() + 1;
            (TokenKind::Var(rest[..len].to_string()), len)
        }
        '+' | '-' | '.' | '0'..='9' => number(src, at)?,
        _ => match word(rest) {
            "" => return Err(fault(src, at, format!("unexpected {first:?} in action"))),
            name => (TokenKind::Ident(name.to_string()), name.len()),
        },
    })
}

/// The letters, digits and underscores a text starts with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn number(src: &str, at: usize) -> Result<(TokenKind, usize)> {
    let rest = &src[at..];
    let mut before = ' ';
    let len = rest
        .find(|c: char| {
            let sign = (c == '+' || c == '-') && matches!(before, ' ' | 'e' | 'E' | 'p');
            before = c;
            !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign)
        })
        .unwrap_or(rest.len());
    let bad = || fault(src, at, format!("bad number syntax: {:?}", &rest[..len]));
    let text = rest[..len].replace('_', "").to_lowercase();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.') {
        return Err(bad());
    }
    let value = match i64::from_str_radix(digits, radix) {
        Ok(value) => Value::from(if negative { -value } else { value }),
        Err(_) if radix != 10 => return Err(bad()),
        Err(_) => {
            let value: f64 = text.parse().map_err(|_| bad())?;
            // Go reads a float without a fraction as an integer too: 1e3 prints as 1000.
            if value.fract() == 0.0 && value.abs() < 1e15 {
                Value::from(value as i64)
            } else {
                serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(bad)?
            }
        }
    };
    Ok((TokenKind::Literal(value), len))
}

/// A string between `quote`s with Go's escapes; its length includes the quotes.
fn quoted(src: &str, start: usize, quote: char) -> Result<(TokenKind, usize)> {
    let mut out = Vec::new();
    let mut at = start + 1;
    loop {
        let rest = &src[at..];
        match rest.chars().next() {
            None | Some('\n') => return Err(fault(src, start, "unterminated quoted string")),
            Some(c) if c == quote => {
                // `\xff` may leave bytes that are no text; JSON cannot hold them, so they are replaced.
                let text = String::from_utf8_lossy(&out).into_owned();
                return Ok((TokenKind::Literal(text.into()), at + 1 - start));
            }
            Some('\\') => {
                at += 1 + unescape(&rest[1..], quote, &mut out)
                    .ok_or_else(|| fault(src, at, "invalid escape in quoted string"))?;
            }
            Some(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                at += c.len_utf8();
            }
        }
    }
}

/// Decodes what follows a backslash and returns its length.
fn unescape(text: &str, quote: char, out: &mut Vec<u8>) -> Option<usize> {
    let hex = |n: usize| u32::from_str_radix(text.get(1..=n)?, 16).ok();
    let first = text.chars().next()?;
    let byte = match first {
        'a' => 7,
        'b' => 8,
        't' => 9,
        'n' => 10,
        'v' => 11,
        'f' => 12,
        'r' => 13,
        '\\' => b'\\',
        c if c == quote => u8::try_from(c).ok()?,
        '0'..='3' => {
            out.push(u8::from_str_radix(text.get(..3)?, 8).ok()?);
            return Some(3);
        }
        'x' => {
            out.push(u8::try_from(hex(2)?).ok()?);
            return Some(3);
        }
        'u' | 'U' => {
            let len = if first == 'u' { 4 } else { 8 };
            let c = char::from_u32(hex(len)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(len + 1);
        }
        _ => return None,
    };
    out.push(byte);
    Some(1)
}

/// An error found while parsing, in Go's form: with the line (1-based), without a column.
pub(super) fn fault(src: &str, at: usize, what: impl Into<String>) -> Error {
    let line = src.get(..at).unwrap_or(src).matches('\n').count() + 1;
    Error::new(
        ErrorKind::Usage,
        format!("template parsing error: template: :{line}: {}", what.into()),
    )
}
