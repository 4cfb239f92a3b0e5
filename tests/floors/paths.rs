//! Paths of modules in a piece of code. `mod child;` is none.

/// The paths that code of a module names, or the list of a `use` in it, from the root of the crate.
pub(crate) fn absolute(module: &str, code: &str) -> Vec<String> {
    let below = |stem: &str| if stem.is_empty() { String::new() } else { format!("{stem}::") };
    let own = if matches!(module, "main" | "lib") { String::new() } else { below(module) };
    let mut all = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        expand("", &code[at + "crate::".len()..], &mut all);
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let rest = code[at..].trim_start_matches("super::");
        let up = (code.len() - at - rest.len()) / "super::".len();
        let stem: Vec<&str> = module.split("::").collect();
        let stem = stem[..stem.len().saturating_sub(up)].join("::");
        expand(&below(&stem), rest, &mut all);
    }
    // Children are named without a path: `use child::X`, `child::x()`.
    for (at, _) in code.match_indices("::") {
        let before = code[..at].trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        let word = &code[before.len()..at];
        let lower = word.chars().next().is_some_and(char::is_lowercase);
        if lower && !before.ends_with(':') && !matches!(word, "crate" | "super" | "self" | "std") {
            expand(&own, &code[before.len()..], &mut all);
        }
    }
    for (at, _) in code.match_indices("self::").filter(|(at, _)| !code[..*at].ends_with(':')) {
        expand(&own, &code[at + "self::".len()..], &mut all);
    }
    all
}

/// Adds the path that `rest` begins with, beneath `stem`.
fn expand(stem: &str, rest: &str, all: &mut Vec<String>) {
    let end = rest.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c)).unwrap_or(rest.len());
    let (path, after) = rest.split_at(end);
    match after.strip_prefix('{').filter(|_| path.is_empty() || path.ends_with("::")) {
        None => all.push(format!("{stem}{path}")),
        Some(list) => {
            let stem = format!("{stem}{path}");
            let (mut depth, mut start) = (0, 0);
            for (at, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    ',' | '}' if depth == 0 => {
                        let item = list[start..at].trim();
                        if !item.is_empty() {
                            expand(&stem, item, all);
                        }
                        if c == '}' {
                            return;
                        }
                        start = at + 1;
                    }
                    '}' => depth -= 1,
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn paths_are_found_in_lists_too() {
    let code =
        "use crate::{a::B, c::{d, e::F}};\nuse crate::g::{self, H};\nlet x = crate::i::j(1);";
    let found = absolute("m", code);
    assert_eq!(found[..6], ["a::B", "c::d", "c::e::F", "g::self", "g::H", "i::j"]);
    assert_eq!(absolute("m", "a::{X, Y};"), ["m::a::X", "m::a::Y"]);
    assert_eq!(absolute("m::n", "use super::super::o::P; x::y(); Z::w();"), ["o::P", "m::n::x::y"]);
}
