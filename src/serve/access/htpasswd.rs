//! The users of an htpasswd file, with bcrypt hashes.
//!
//! The other formats of htpasswd are insecure (MD5, SHA-1, crypt) or plain text. They are refused when the
//! file is read, with the line number. A hash is never shown.

use std::collections::HashMap;
use std::path::Path;

use bcrypt::HashParts;

use crate::error::{Error, Kind, Result};

/// Largest file, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Highest cost: each step doubles the time, and this one takes about ten seconds.
const MAX_COST: u32 = 17;

/// Names and hashes.
#[derive(PartialEq, Eq)]
pub struct Users {
    hashes: HashMap<String, String>,
    /// The hash that the password of an unknown user is compared to; the result is ignored.
    stand_in: String,
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// `Io`, `Missing`; `Usage` when a line cannot be used.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::no_such_file(path),
            _ => Error::io(path, "opening", &e),
        })?;
        if meta.len() > MAX_FILE {
            return Err(Error::new(Kind::Usage, "too large for an htpasswd file").input(shown()));
        }
        let text = std::fs::read(path).map_err(|e| Error::io(path, "reading", &e))?;
        let text = String::from_utf8(text)
            .map_err(|_| Error::new(Kind::Usage, "not UTF-8").input(shown()))?;
        Self::parse(&text).map_err(|e| e.input(shown()))
    }

    /// Reads the text of one.
    ///
    /// # Errors
    /// `Usage` when a line cannot be used.
    pub fn parse(text: &str) -> Result<Self> {
        let mut hashes = HashMap::new();
        let (mut stand_in, mut highest) = (String::new(), 0);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |what: &str| {
                Error::new(Kind::Usage, what.to_owned()).at(format!("line {}", number + 1))
            };
            let (name, hash) = line.split_once(':').ok_or_else(|| bad("want name:hash"))?;
            if name.is_empty() {
                return Err(bad("a name is missing"));
            }
            if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
                return Err(bad("only bcrypt hashes are accepted; make one with htpasswd -B"));
            }
            let parts: HashParts = hash.parse().map_err(|_| bad("the bcrypt hash is not valid"))?;
            if !(4..=MAX_COST).contains(&parts.get_cost()) {
                return Err(bad(&format!("the cost of the bcrypt hash is not in 4 to {MAX_COST}")));
            }
            if parts.get_cost() > highest {
                (stand_in, highest) = (hash.to_owned(), parts.get_cost());
            }
            if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(bad("the name occurs twice"));
            }
        }
        if hashes.is_empty() {
            return Err(Error::new(Kind::Usage, "it lists no users"));
        }
        Ok(Self { hashes, stand_in })
    }

    /// Whether there is a user of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.hashes.contains_key(name)
    }

    /// Whether the password is the user's. Takes as long for nobody's.
    pub(super) fn verify(&self, name: &str, password: &str) -> bool {
        let (known, hash) = match self.hashes.get(name) {
            Some(hash) => (true, hash),
            None => (false, &self.stand_in),
        };
        let right = bcrypt::verify(password, hash).unwrap_or(false);
        known && right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "s3cret", cost 4.
    fn hash() -> String {
        bcrypt::hash("s3cret", 4).unwrap()
    }

    #[test]
    fn only_bcrypt_is_taken_and_a_bad_line_is_named() {
        let good = hash();
        for (line, want) in [
            ("a:$apr1$xxxx$yyyy".to_owned(), "only bcrypt hashes are accepted"),
            ("a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned(), "only bcrypt hashes are accepted"),
            ("a:plain".to_owned(), "only bcrypt hashes are accepted"),
            ("a".to_owned(), "want name:hash"),
            (format!(":{good}"), "a name is missing"),
            (good[..40].replace("$2b$", "a:$2y$"), "the bcrypt hash is not valid"),
            (format!("a:{}", good.replace("$04$", "$31$")), "the cost"),
            (format!("ok:{good}"), "the name occurs twice"),
        ] {
            let text = format!("# users\nok:{good}\n\n{line}\n");
            let error = Users::parse(&text).err().expect("an error");
            let shown = error.to_string();
            assert!(shown.contains(want) && shown.contains("line 4"), "{line}: {shown}");
            assert!(!shown.contains("$2"), "{shown}");
        }
        assert!(Users::parse("# nobody\n").is_err());
    }

    #[test]
    fn every_bcrypt_prefix_is_verified() {
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let users = Users::parse(&format!("al:{}\n", hash().replace("$2b$", prefix))).unwrap();
            assert!(users.verify("al", "s3cret"));
            assert!(!users.verify("al", "s3cres"));
            assert!(!users.verify("bo", "s3cret"), "the stand-in's own password");
        }
    }
}
