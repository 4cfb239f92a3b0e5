//! No error is recognised by its text.

use crate::source::sources;

/// Where text of others decides what an error is, since they say it in no other way. Of our own errors the
/// kind and the cause are asked.
const FOREIGN_TEXT: &[(&str, &str)] = &[
    (
        "registry::http::socket",
        "getaddrinfo tells a failing name server from an unknown host in words only",
    ),
    ("registry::tls::trust", "a reason that rustls hands through from below"),
    ("serve::http::exchange", "hyper tells a long target from long headers in words only"),
];

#[test]
fn no_error_is_recognised_by_its_text() {
    let compared = |line: &str| {
        let asked = ["what()", "e.to_string()", "err.to_string()", "error.to_string()"];
        let tests = [".contains(", ".starts_with(", ".ends_with(", ".is_empty()", " ==", " !="];
        asked
            .iter()
            .flat_map(|text| line.match_indices(text).map(|(at, text)| (at, text.len())))
            .any(|(at, length)| {
                let (before, after) = (&line[..at], &line[at + length..]);
                // The end of a longer name is another thing.
                if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    return false;
                }
                tests.iter().any(|test| after.starts_with(test))
                    || before
                        .trim_end_matches(|c: char| c.is_alphanumeric() || "_.&".contains(c))
                        .ends_with("== ")
                    || (before.contains("match ") && after.starts_with(" {"))
            })
    };
    for line in [
        r#"if e.what() == "file exists" {"#,
        r#"Err(e) if e.what().contains("x") => e,"#,
        "match error.what() {",
        "d.error.to_string() == e.to_string()",
    ] {
        assert!(compared(line), "{line}");
    }
    let mut used = vec![false; FOREIGN_TEXT.len()];
    let mut wrong = Vec::new();
    for source in sources() {
        for line in source.code.lines().filter(|line| compared(line)) {
            match FOREIGN_TEXT.iter().position(|(module, _)| *module == source.module) {
                Some(at) => used[at] = true,
                None => wrong.push(format!("{}: {}", source.module, line.trim())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for ((module, _), used) in FOREIGN_TEXT.iter().zip(used) {
        assert!(used, "{module} compares no text any more; take the exception out");
    }
}
