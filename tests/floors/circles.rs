//! Files form no circles.
//!
//! A file imports another when its code names something of it, by `use` or in full. `mod child;` and
//! `pub use child::X` in a parent are no imports of the child, unless the parent's own code uses `X` as well:
//! such a file is only a door, and who comes through it imports what lies behind. A child that adds methods to a
//! type of its parent (`impl Parent`) is part of that type, so naming it is no import.

use std::collections::{BTreeMap, BTreeSet};

use crate::paths::absolute;
use crate::source::{Source, sources};

/// Imports of files: what each names of others, with what is passed on traced to where it is.
struct Imports {
    sources: BTreeMap<String, Source>,
    /// What a file passes on by `pub use`: the name, and the path behind it.
    passed_on: BTreeMap<String, BTreeMap<String, String>>,
}

impl Imports {
    fn new() -> Self {
        let sources: BTreeMap<String, Source> =
            sources().into_iter().map(|s| (s.module.clone(), s)).collect();
        let mut found = Self { sources, passed_on: BTreeMap::new() };
        for (module, source) in &found.sources {
            let (_, passed) = split(&source.code);
            let mut names = BTreeMap::new();
            for path in passed.iter().flat_map(|list| absolute(module, list)) {
                names.insert(path.rsplit("::").next().unwrap_or_default().to_owned(), path);
            }
            found.passed_on.insert(module.clone(), names);
        }
        found
    }

    /// The file that a path leads to.
    fn file(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
        let whole = (1..=parts.len()).rev().map(|n| (parts[..n].join("::"), parts.get(n)));
        let (file, next) = whole.into_iter().find(|(file, _)| self.sources.contains_key(file))?;
        match next.and_then(|name| self.passed_on[&file].get(*name)) {
            Some(behind) if behind != path => self.file(behind).or(Some(file)),
            _ => Some(file),
        }
    }

    /// Every file that a file imports.
    fn of(&self, module: &str) -> Vec<String> {
        let (code, passed) = split(&self.sources[module].code);
        // Of what is passed on, that counts which the code itself uses.
        let used = |path: &String| {
            let name = path.rsplit("::").next().unwrap_or_default();
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
        };
        let passed = passed.iter().flat_map(|list| absolute(module, list)).filter(used);
        let parent = module.rsplit_once("::").map(|(parent, _)| parent);
        let mut paths: Vec<String> = absolute(module, &code);
        paths.retain(|path| {
            let name = path.rsplit("::").next().unwrap_or_default();
            let adds = [format!("impl {name}"), format!("impl<'_> {name}")];
            let adds = adds.iter().any(|text| code.contains(&format!("\n{text}")));
            !(adds && parent == self.file(path).as_deref())
        });
        paths.extend(passed);
        let files = paths.iter().filter_map(|path| self.file(path));
        let mut files: Vec<String> = files.filter(|file| file != module && file != "lib").collect();
        files.sort();
        files.dedup();
        files
    }
}

/// Code without its `pub use` statements, and these.
fn split(code: &str) -> (String, Vec<String>) {
    let (mut rest, mut passed) = (String::new(), Vec::new());
    // `pub(in path)` is where something may be seen, and imports nothing.
    let code: Vec<&str> = code.split("pub(in ").collect();
    let seen =
        |part: &&str| part.split_once(')').map_or(String::new(), |(_, after)| after.to_owned());
    let code = code[0].to_owned() + &code[1..].iter().map(seen).collect::<String>();
    for statement in code.split_inclusive(';') {
        // Nor does a declaration, if it has attributes.
        let last = statement.lines().last().unwrap_or_default();
        if last.split_whitespace().any(|word| word == "mod") {
            continue;
        }
        let start = statement.rfind("\npub").filter(|at| {
            let text = &statement[*at..];
            ["\npub use ", "\npub(crate) use ", "\npub(super) use "]
                .iter()
                .any(|t| text.starts_with(t))
        });
        match start {
            Some(at) => {
                rest.push_str(&statement[..at]);
                let (_, list) = statement[at..].split_once(" use ").expect("a use");
                passed.push(list.to_owned());
            }
            None => rest.push_str(statement),
        }
    }
    (rest, passed)
}

/// The strongly connected parts of a graph that have more than one file.
fn circles(graph: &BTreeMap<String, Vec<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in graph.get(file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|f| (f, reach(f))).collect();
    let mut found = BTreeSet::new();
    for (file, beyond) in &reached {
        if beyond.contains(*file) {
            let both =
                beyond.iter().filter(|other| reached.get(other).is_some_and(|r| r.contains(*file)));
            found.insert(both.cloned().collect::<Vec<_>>());
        }
    }
    found.into_iter().collect()
}

#[test]
fn files_form_no_circles() {
    let imports = Imports::new();
    let graph: BTreeMap<String, Vec<String>> =
        imports.sources.keys().map(|module| (module.clone(), imports.of(module))).collect();
    let edges = |circle: &Vec<String>| {
        let inside = circle.iter().flat_map(|file| graph[file].iter().map(move |to| (file, to)));
        let inside = inside.filter(|(_, to)| circle.contains(to));
        inside.map(|(from, to)| format!("  {from} imports {to}")).collect::<Vec<_>>().join("\n")
    };
    let wrong: Vec<String> = circles(&graph).iter().map(edges).collect();
    assert!(wrong.is_empty(), "files form circles:\n{}", wrong.join("\n\n"));
}

#[test]
fn circles_are_found_through_doors_and_not_where_only_a_door_is() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().push((*to).to_owned());
        }
        graph
    };
    assert_eq!(circles(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])), [["b", "c"]]);
    assert!(circles(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    let (rest, passed) =
        split("\nmod a;\n\npub use a::{X, Y};\nuse a::Z;\npub(in crate::q) fn f() {}");
    assert_eq!(passed, ["a::{X, Y};"]);
    assert_eq!(absolute("m", &rest), ["m::a::Z"]);
    // The source itself is read: the door of the client's messages leads to what lies behind it.
    let imports = Imports::new();
    assert_eq!(
        imports.file("registry::http::Response").as_deref(),
        Some("registry::http::message")
    );
}
