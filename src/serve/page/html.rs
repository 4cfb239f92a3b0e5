//! Writing HTML in which text cannot become markup.
//!
//! It knows no page. Names of elements and attributes are `&'static str`, so they come from this source.
//! Everything else is text and is escaped, so a label of an image can be shown but can do nothing. HTML
//! living standard, "Serialising HTML fragments".

use crate::text;

/// Longest text of foreign origin, in characters; what follows is counted.
const LIMIT: usize = 4096;

/// An attribute: a name of ours and a value of any origin.
pub(super) type Attribute<'a> = (&'static str, &'a str);

/// Markup in the making.
pub(super) struct Html(String);

impl Html {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    /// The whole document.
    pub(super) fn finish(self) -> String {
        format!("<!doctype html>\n{}\n", self.0)
    }

    /// An element, and what is in it.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) {
        self.empty(name, attributes);
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element that holds text only.
    pub(super) fn leaf(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        text: impl AsRef<str>,
    ) {
        self.element(name, attributes, |h| h.text(text));
    }

    /// An element that has no end: `meta`, `link`, `input`.
    pub(super) fn empty(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push_str("=\"");
            self.escaped(&text::escape_long(value));
            self.0.push('"');
        }
        self.0.push('>');
    }

    /// Text on one line: what could turn it around or break it is spelled out.
    pub(super) fn text(&mut self, text: impl AsRef<str>) {
        let (shown, left) = cut(text.as_ref());
        self.escaped(&text::escape_long(shown));
        self.rest(left);
    }

    /// Text that may have lines and tabs.
    pub(super) fn lines(&mut self, text: impl AsRef<str>) {
        let (shown, left) = cut(text.as_ref());
        for piece in shown.split_inclusive(['\n', '\t']) {
            let plain = piece.trim_end_matches(['\n', '\t']);
            self.escaped(&text::escape_long(plain));
            self.0.push_str(&piece[plain.len()..]);
        }
        self.rest(left);
    }

    fn rest(&mut self, left: usize) {
        if left > 0 {
            let said = format!("… and {left} bytes more");
            self.element("i", &[], |h| h.escaped(&said));
        }
    }

    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
    }
}

/// The beginning of a text, and how many bytes are left.
fn cut(text: &str) -> (&str, usize) {
    let end = text.char_indices().nth(LIMIT).map_or(text.len(), |(at, _)| at);
    (&text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut Html)) -> String {
        let mut html = Html::new();
        write(&mut html);
        html.0
    }

    #[test]
    fn text_cannot_become_markup_wherever_it_stands() {
        for (text, want) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onload='x'", "&quot; onload=&#39;x&#39;"),
            ("a&amp;b", "a&amp;amp;b"),
            ("a\0b\u{202e}c\x1b", "a\\x00b\\u{202e}c\\x1b"),
            ("a\nb", "a\\x0ab"),
            ("é 日本", "é 日本"),
        ] {
            assert_eq!(shown(|h| h.text(text)), want);
            let attribute = shown(|h| h.empty("a", &[("title", text)]));
            assert_eq!(attribute, format!("<a title=\"{want}\">"));
        }
    }

    #[test]
    fn lines_keep_their_breaks_and_nothing_else() {
        assert_eq!(shown(|h| h.lines("a\n\tb\r\n<\u{2028}")), "a\n\tb\\x0d\n&lt;\\u{2028}");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let text = "é".repeat(LIMIT + 3);
        let html = shown(|h| h.text(&text));
        assert!(html.ends_with("é<i>… and 6 bytes more</i>"), "{}", &html[html.len() - 60..]);
        assert_eq!(html.matches('é').count(), LIMIT);
    }
}
