//! Makes text of foreign origin safe to show: on a terminal, in a log, in a table cell.
//!
//! It must not know what the text is about or where it is printed. Names, labels, paths and error bodies
//! come from archives and servers that may be hostile: an escape sequence can repaint a terminal, a newline
//! can forge a record, a bidi control can reverse a file name. Clean text comes back unchanged and
//! unallocated, and the result of escaping is clean, so escaping twice does no harm. The price is that a
//! backslash is not escaped itself: the result is for eyes, not for decoding.

use std::borrow::Cow;
use std::fmt::Write;

/// Longest text of foreign origin shown within a message, in characters, the mark of the cut included.
pub const MESSAGE_CHARS: usize = 256;

/// Whether a character can steer a terminal, break a line or change the order of the text around it.
pub fn hostile(c: char) -> bool {
    match c {
        ' '..='~' => false,
        '\u{061c}' | '\u{200e}' | '\u{200f}' => true, // marks that set the direction
        '\u{2028}' | '\u{2029}' => true,              // line and paragraph separator
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true, // embeddings, overrides, isolates
        '\u{feff}' => true,                                        // byte order mark: invisible
        _ => c.is_control(),                                       // C0, DEL and C1
    }
}

fn clean(text: &str) -> bool {
    // The plain loop over bytes is what compilers vectorise; almost every name ends here.
    text.bytes().all(|b| (b' '..=b'~').contains(&b)) || !text.chars().any(hostile)
}

/// Writes the visible form of one hostile character: `\x1b` for ASCII, `\u{202e}` for the rest.
fn push_char(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = if c.is_ascii() {
        write!(out, "\\x{:02x}", u32::from(c))
    } else {
        write!(out, "\\u{{{:x}}}", u32::from(c))
    };
}

/// The text with every hostile character in visible form; clean text is borrowed.
pub fn escape(text: &str) -> Cow<'_, str> {
    if clean(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) { push_char(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The same for bytes that should be UTF-8: each byte that is not becomes `\xff`.
pub fn escape_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return escape(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(&escape(chunk.valid()));
        push_bytes(&mut out, chunk.invalid());
    }
    Cow::Owned(out)
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// The escaped text, at most [`MESSAGE_CHARS`] long; `…` marks a cut.
pub fn message(text: &str) -> String {
    message_bytes(text.as_bytes())
}

/// The same for bytes. Its cost depends on the limit, not on the input: an error body may be megabytes.
pub fn message_bytes(bytes: &[u8]) -> String {
    // Four bytes a character and one character too many: enough to know that something is left.
    let most = (MESSAGE_CHARS + 1) * 4;
    let mut out = String::new();
    let mut room = MESSAGE_CHARS;
    // Where to cut if it turns out that not everything fits: the last place with room for the mark.
    let mut cut = 0;
    let mut piece = String::new();
    let mut put = |piece: &str| {
        let long = piece.chars().count();
        if room > 0 {
            cut = out.len();
        }
        let fits = long <= room;
        if fits {
            room -= long;
            out.push_str(piece);
        }
        fits
    };
    let mut whole = bytes.len() <= most;
    'all: for chunk in bytes[..bytes.len().min(most)].utf8_chunks() {
        for c in chunk.valid().chars() {
            piece.clear();
            if hostile(c) {
                push_char(&mut piece, c)
            } else {
                piece.push(c)
            }
            if !put(&piece) {
                whole = false;
                break 'all;
            }
        }
        for byte in chunk.invalid() {
            piece.clear();
            push_bytes(&mut piece, &[*byte]);
            if !put(&piece) {
                whole = false;
                break 'all;
            }
        }
    }
    if !whole {
        if room == 0 {
            out.truncate(cut);
        }
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_become_visible() {
        for (text, shown) in [
            ("a\x1b[2Jb", "a\\x1b[2Jb"),
            ("a\nb\tc\0", "a\\x0ab\\x09c\\x00"),
            ("\x7f", "\\x7f"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\u{2066}\u{2069}\u{200e}\u{200f}", "\\u{2066}\\u{2069}\\u{200e}\\u{200f}"),
            ("\u{2028}\u{2029}\u{feff}", "\\u{2028}\\u{2029}\\u{feff}"),
        ] {
            assert_eq!(escape(text), shown);
            assert_eq!(escape(shown), shown, "escaping twice changes nothing");
        }
    }

    #[test]
    fn clean_text_is_borrowed() {
        for text in ["", "docker.io/library/busybox:1", "héllo 日本 👩‍🚀", "C:\\x1b"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn bytes_outside_utf8_are_shown_in_hexadecimal() {
        assert_eq!(escape_bytes(b"a\xff\xfe\x1b\xc3\xa9\xc3"), "a\\xff\\xfe\\x1bé\\xc3");
        assert!(matches!(escape_bytes(b"plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn a_message_is_cut_at_its_limit_and_never_inside_an_escape() {
        assert_eq!(message("short"), "short");
        assert_eq!(message(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(message(&"a".repeat(257)), format!("{}…", "a".repeat(255)));
        assert_eq!(message(&"é".repeat(9000)), format!("{}…", "é".repeat(255)));
        assert_eq!(message(&"\x1b".repeat(300)), format!("{}…", "\\x1b".repeat(63)));
        assert_eq!(message(&"\x1b".repeat(64)), "\\x1b".repeat(64));
        assert_eq!(message(&format!("{}\x1b", "a".repeat(254))), format!("{}…", "a".repeat(254)));
        assert_eq!(message_bytes(&[0xff; 5000]), format!("{}…", "\\xff".repeat(63)));
    }
}
