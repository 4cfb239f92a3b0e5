//! Text from outside, made safe to print.
//!
//! It knows nothing of terminals; every message and every log line passes names through here, so
//! that an archive cannot move the cursor, forge a line or turn text around.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest foreign text in a message, in characters.
const LIMIT: usize = 256;

/// Whether a character could move the cursor, forge a line or turn text around.
pub fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{61c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with control characters and direction marks spelled out, at most 256 characters.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.len() <= LIMIT && !text.chars().any(hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LIMIT {
            out.push('…');
            break;
        }
        push(&mut out, c);
    }
    Cow::Owned(out)
}

/// [`escape`] without the limit on length, for whole messages.
pub fn escape_long(text: &str) -> Cow<'_, str> {
    if !text.chars().any(hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    text.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

/// [`escape`] for bytes that need not be UTF-8: other bytes print as `\xNN`.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut count = 0;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if count == LIMIT {
                out.push('…');
                return out;
            }
            push(&mut out, c);
            count += 1;
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
            count += 1;
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    if !hostile(c) {
        out.push(c);
    } else if (c as u32) < 0x100 {
        let _ = write!(out, "\\x{:02x}", c as u32);
    } else {
        let _ = write!(out, "\\u{{{:x}}}", c as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_spelled_out() {
        for (text, want) in [
            ("nginx:1.27", "nginx:1.27"),
            ("a\x1b[2Jb", "a\\x1b[2Jb"),
            ("a\nb\r", "a\\x0ab\\x0d"),
            ("\u{202e}gnp", "\\u{202e}gnp"),
            ("\u{9b}31m", "\\x9b31m"),
            ("é", "é"),
        ] {
            assert_eq!(escape(text), want);
        }
        assert_eq!(escape_bytes(b"a\xff\n"), "a\\xff\\x0a");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(escape(&"x".repeat(300)).chars().count(), LIMIT + 1);
    }
}
