//! Quotes, escapes and `$variables` in the words of a Dockerfile instruction.
//!
//! It must not know instructions.
//!
//! Follows the Dockerfile reference, "Environment replacement", and where that is silent BuildKit's
//! `frontend/dockerfile/shell`, as Docker 20.10 was observed to apply it.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

/// Variables set so far.
pub(super) type ShellVariables = HashMap<String, String>;

/// One word with quotes removed and variables replaced.
pub(super) fn word(text: &str, env: &ShellVariables) -> Result<String, String> {
    Ok(Lexer::run(text, env)?.whole)
}

/// The same, but cut into words at spaces that are not quoted, also at those inside variables.
pub(super) fn words(text: &str, env: &ShellVariables) -> Result<Vec<String>, String> {
    let mut lexer = Lexer::run(text, env)?;
    lexer.end_word();
    Ok(lexer.words)
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    env: &'a ShellVariables,
    whole: String,
    words: Vec<String>,
    /// The word being collected; an empty quoted one still counts.
    current: Option<String>,
    depth: usize,
}

impl<'a> Lexer<'a> {
    fn run(text: &'a str, env: &'a ShellVariables) -> Result<Self, String> {
        let mut lexer = Self {
            chars: text.chars().peekable(),
            env,
            whole: String::new(),
            words: Vec::new(),
            current: None,
            depth: 0,
        };
        match lexer.until(None) {
            Ok(whole) => {
                lexer.whole = whole;
                Ok(lexer)
            }
            Err(what) => Err(format!("failed to process {text:?}: {what}")),
        }
    }

    fn end_word(&mut self) {
        self.words.extend(self.current.take());
    }

    fn raw(&mut self, text: &str) {
        self.current.get_or_insert_default().push_str(text);
    }

    fn split(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.end_word();
            } else {
                self.current.get_or_insert_default().push(c);
            }
        }
    }

    /// Everything up to `stop`, which is taken too.
    fn until(&mut self, stop: Option<char>) -> Result<String, String> {
        let mut out = String::new();
        // Words are cut at the top only; a default value's words come with its variable.
        let top = stop.is_none();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(out);
            }
            let (text, quoted) = match c {
                '\'' => (self.single()?, true),
                '"' => (self.double()?, true),
                '$' => (self.dollar()?, false),
                '\\' => {
                    self.chars.next();
                    match self.chars.next() {
                        Some(c) => (c.to_string(), true),
                        None => break,
                    }
                }
                c => {
                    self.chars.next();
                    (c.to_string(), false)
                }
            };
            if top && quoted {
                self.raw(&text);
            } else if top {
                self.split(&text);
            }
            out.push_str(&text);
        }
        match stop {
            Some(_) => Err("syntax error: missing '}'".into()),
            None => Ok(out),
        }
    }

    fn single(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut out = String::new();
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(out);
            }
            out.push(c);
        }
        Err("unexpected end of statement while looking for matching single-quote".into())
    }

    fn double(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut out = String::new();
        while let Some(&c) = self.chars.peek() {
            match c {
                '$' => out.push_str(&self.dollar()?),
                '"' => {
                    self.chars.next();
                    return Ok(out);
                }
                '\\' => {
                    self.chars.next();
                    match self.chars.next_if(|c| matches!(c, '"' | '$' | '\\')) {
                        Some(c) => out.push(c),
                        None => out.push('\\'),
                    }
                }
                c => {
                    self.chars.next();
                    out.push(c);
                }
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".into())
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".into() } else { self.value(&name) });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.value(&name);
        let modifier = match self.chars.next() {
            Some('}') => return Ok(value),
            Some(':') => self.chars.next(),
            _ => return Err("missing ':' in substitution".into()),
        };
        // The bound keeps hostile nesting off the stack.
        self.depth += 1;
        if self.depth > 100 {
            return Err("substitutions are nested too deeply".into());
        }
        let word = self.until(Some('}'))?;
        self.depth -= 1;
        match modifier {
            Some('+') if value.is_empty() => Ok(value),
            Some('-') if !value.is_empty() => Ok(value),
            Some('?') if !value.is_empty() => Ok(value),
            Some('+' | '-') => Ok(word),
            Some('?') if word.is_empty() => Err(format!("{name}: is not allowed to be unset")),
            Some('?') => Err(format!("{name}: {word}")),
            Some(c) => Err(format!("unsupported modifier ({c}) in substitution")),
            None => Err("syntax error: missing '}'".into()),
        }
    }

    /// Letters, digits and `_`; all digits; or one of the shell's special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(c) = self.chars.next_if(|c| "@*#?-$!".contains(*c)) {
            return c.to_string();
        }
        let digits = self.chars.peek().is_some_and(char::is_ascii_digit);
        while let Some(c) = self
            .chars
            .next_if(|c| if digits { c.is_ascii_digit() } else { c.is_alphanumeric() || *c == '_' })
        {
            name.push(c);
        }
        name
    }

    fn value(&self, name: &str) -> String {
        self.env.get(name).cloned().unwrap_or_default()
    }
}
