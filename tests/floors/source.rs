//! What every rule reads: the files of `src`.

use std::path::{Path, PathBuf};

use crate::paths::absolute;

/// One source file.
pub(crate) struct Source {
    /// Where it lies beneath `src`.
    pub(crate) path: PathBuf,
    /// Its module, from the root of the crate.
    pub(crate) module: String,
    /// All of it.
    pub(crate) text: String,
    /// Its code, without comments and tests.
    pub(crate) code: String,
}

/// Every file, those of tests too.
pub(crate) fn files() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_owned();
                let module = path.with_extension("").to_str().unwrap().replace('/', "::");
                let code = code(&text);
                found.push(Source { path, module, text, code });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 40, "only {} files found", found.len());
    found
}

/// Every file but those of tests.
pub(crate) fn sources() -> Vec<Source> {
    files().into_iter().filter(|s| s.module.split("::").all(|part| part != "tests")).collect()
}

/// Those of the library, without the file that lists its modules.
pub(crate) fn library() -> Vec<Source> {
    let part = |s: &Source| s.module.split("::").next().unwrap_or_default().to_owned();
    sources().into_iter().filter(|s| !["cli", "main", "lib"].contains(&&*part(s))).collect()
}

/// The document that argues for exceptions.
pub(crate) fn architecture() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    std::fs::read_to_string(path).unwrap()
}

impl Source {
    /// Every path of modules that its code names, from the root of the crate.
    pub(crate) fn mentions(&self) -> Vec<String> {
        absolute(&self.module, &self.code)
    }
}

/// Code without comments and without the items that only tests have.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(indent) = line.strip_suffix("#[cfg(test)]") {
            // One line, or up to the bracket that closes it.
            let ends = [format!("{indent}}}"), format!("{indent}}};")];
            if !lines.next().is_some_and(|item| item.ends_with(';')) {
                lines.find(|line| ends.iter().any(|end| end == line));
            }
            continue;
        }
        kept.push_str(line.split("//").next().unwrap_or_default());
        kept.push('\n');
    }
    kept
}

#[test]
fn items_of_tests_are_no_code_and_what_follows_them_is() {
    let text = "a;\n#[cfg(test)]\nmod tests;\nb; // no\nimpl X {\n    #[cfg(test)]\n    fn f() {\n        g();\n    }\n    c\n}\n";
    assert_eq!(code(text), "a;\nb; \nimpl X {\n    c\n}\n");
}
