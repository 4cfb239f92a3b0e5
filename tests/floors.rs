//! The shape of the source: who may know of whom, and what the library must not do.
//!
//! It reads `src/**/*.rs` as text. A module may use modules of its own floor and below; a failure says
//! which line breaks the rule, to be moved, or argued for in `docs/ARCHITECTURE.md` and in the table.
//!
//! Files form no circles. A file imports another when its code names something of it, by `use` or in full.
//! `mod child;` and `pub use child::X` in a parent are no imports of the child, unless the parent's own code
//! uses `X` as well: such a file is only a door, and who comes through it imports what lies behind. A child
//! that adds methods to a type of its parent (`impl Parent`) is part of that type, so naming it is no import.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The floor of each module; the longest matching entry counts.
const FLOORS: &[(&str, u32)] = &[
    // 0 ground
    ("error", 0),
    ("locks", 0),
    ("progress", 0),
    ("text", 0),
    ("units", 0),
    // 1 words: no I/O
    ("digest", 1),
    ("encoding", 1),
    ("json", 1),
    ("media_type", 1),
    ("platform", 1),
    ("reference", 1),
    ("descriptor", 1),
    ("manifest", 1),
    ("config", 1),
    // 2 bytes: no names of images
    ("io", 2),
    ("layer", 2),
    ("context", 2),
    ("verify", 2),
    ("flatten", 2),
    ("import", 2),
    ("diff_files", 2),
    // 3 the pair
    ("transport", 3),
    ("companion", 3),
    // 4 places
    ("blobs", 4),
    ("layout", 4),
    ("partial", 4),
    ("registry", 4),
    ("transport::archive", 4),
    ("transport::daemon", 4),
    ("transport::discard", 4),
    ("transport::distribution", 4),
    ("transport::folder", 4),
    ("transport::union", 4),
    ("transport::layout", 4),
    ("transport::registry", 4),
    ("transport::rootfs", 4),
    ("transport::skopeo_dir", 4),
    ("transport::store", 4),
    ("transport::table", 4),
    // 5 the engine
    ("copy", 5),
    // 6 jobs
    ("find", 6),
    ("images", 6),
    ("inspect", 6),
    ("serve", 6),
    ("sync", 6),
    ("transfer", 6),
    // 7 the command line, a crate of its own
    ("cli", 7),
    ("main", 7),
];

/// What one transport knows of another, with the reason.
const BETWEEN_TRANSPORTS: &[(&str, &str, &str)] = &[
    ("transport::daemon", "transport::archive", "engines give and take archives"),
    ("transport::folder", "transport::distribution", "what the storage of a registry looks like"),
    ("transport::folder", "transport::union", "several places as one source"),
    ("transport::store", "transport::layout", "the store is a layout with a memory"),
];

/// Imports that may close a circle of files, with the reason; each is argued for in `docs/ARCHITECTURE.md`.
const BETWEEN_FILES: &[(&str, &str, &str)] = &[];

/// One source file.
struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let below = path.strip_prefix(&root).unwrap().with_extension("");
                let module = below.to_str().unwrap().replace('/', "::");
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path, module, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 40, "only {} files found", found.len());
    found
}

impl Source {
    /// Its code without comments and without what comes after `#[cfg(test)]`.
    fn code(&self) -> String {
        let body = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        body.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Every path of modules that its code names, from the root of the crate.
    fn mentions(&self) -> Vec<String> {
        let code = self.code();
        let mut all = mentions(&code);
        let parent = self.module.rsplit_once("::").map_or("", |(parent, _)| parent);
        for (at, _) in code.match_indices("super::") {
            let stem = if parent.is_empty() { String::new() } else { format!("{parent}::") };
            expand(&stem, &code[at + "super::".len()..], &mut all);
        }
        all
    }

    fn library(&self) -> bool {
        !self.module.starts_with("cli") && self.module != "main"
    }

    fn is_test(&self) -> bool {
        self.module.ends_with("tests")
    }
}

/// The entry of the table that a path of modules falls under.
fn entry(path: &str) -> Option<(&'static str, u32)> {
    FLOORS
        .iter()
        .filter(|(name, _)| path == *name || path.starts_with(&format!("{name}::")))
        .max_by_key(|(name, _)| name.len())
        .copied()
}

/// Every `crate::…` path in a piece of code, `{…}` lists opened up.
fn mentions(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        expand("", &code[at + "crate::".len()..], &mut all);
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
    let found = mentions(code);
    assert_eq!(found, ["a::B", "c::d", "c::e::F", "g::self", "g::H", "i::j"]);
    assert_eq!(entry("transport::layout::index"), Some(("transport::layout", 4)));
    assert_eq!(entry("transport::Blob"), Some(("transport", 3)));
    assert_eq!(entry("layouts"), None);
}

#[test]
fn every_module_has_a_floor() {
    for source in sources() {
        if source.module != "lib" {
            let module = &source.module;
            assert!(entry(module).is_some(), "{module} is in no floor; add it to the table");
        }
    }
}

#[test]
fn modules_look_down_only() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.library() && s.module != "lib" && !s.is_test()) {
        let (own, floor) = entry(&source.module).unwrap();
        for path in source.mentions() {
            let Some((other, above)) = entry(&path) else { continue };
            if above > floor {
                wrong.push(format!(
                    "{own} (floor {floor}) must not know of {other} (floor {above})"
                ));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn transports_do_not_know_one_another() {
    let mut wrong = Vec::new();
    let mut used = vec![false; BETWEEN_TRANSPORTS.len()];
    for source in sources().iter().filter(|s| s.module.starts_with("transport::") && !s.is_test()) {
        let (own, _) = entry(&source.module).unwrap();
        if own == "transport::table" {
            continue;
        }
        for path in source.mentions() {
            let Some((other, _)) = entry(&path).filter(|(o, _)| o.starts_with("transport::"))
            else {
                continue;
            };
            let rule = BETWEEN_TRANSPORTS.iter().position(|(f, t, _)| *f == own && *t == other);
            match rule {
                _ if other == own => {}
                Some(at) => used[at] = true,
                None => wrong.push(format!("{} must not know of {other}", source.module)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for ((from, to, _), used) in BETWEEN_TRANSPORTS.iter().zip(used) {
        assert!(used, "{from} no longer uses {to}; take the exception out");
    }
}

#[test]
fn modules_of_one_floor_do_not_know_one_another_both_ways() {
    let mut uses: BTreeMap<(&str, &str), ()> = BTreeMap::new();
    for source in sources().iter().filter(|s| s.library() && s.module != "lib" && !s.is_test()) {
        let (own, _) = entry(&source.module).unwrap();
        for path in source.mentions() {
            if let Some((other, _)) = entry(&path).filter(|(other, _)| *other != own) {
                uses.insert((own, other), ());
            }
        }
    }
    let declared =
        |a: &str, b: &str| BETWEEN_TRANSPORTS.iter().any(|(from, to, _)| (*from, *to) == (a, b));
    let both: Vec<String> = uses
        .keys()
        .filter(|(a, b)| a < b && uses.contains_key(&(*b, *a)) && !declared(a, b))
        .map(|(a, b)| format!("{a} and {b} know one another"))
        .collect();
    assert!(both.is_empty(), "{}", both.join("\n"));
}

/// Imports of files: what each names of others, with what is passed on traced to where it is.
struct Imports {
    sources: BTreeMap<String, Source>,
    /// What a file passes on by `pub use`: the name, and the path behind it.
    passed_on: BTreeMap<String, BTreeMap<String, String>>,
}

impl Imports {
    fn new() -> Self {
        let all = sources().into_iter().filter(|s| !s.is_test() && !s.module.contains("::tests::"));
        let sources: BTreeMap<String, Source> = all.map(|s| (s.module.clone(), s)).collect();
        let mut found = Self { sources, passed_on: BTreeMap::new() };
        for (module, source) in &found.sources {
            let (_, passed) = split(&source.code());
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
        let (code, passed) = split(&self.sources[module].code());
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

/// The paths that code of a module names, or the list of a `use` in it, from the root of the crate.
fn absolute(module: &str, code: &str) -> Vec<String> {
    let below = |stem: &str| if stem.is_empty() { String::new() } else { format!("{stem}::") };
    let own = if matches!(module, "main" | "lib") { String::new() } else { below(module) };
    let mut all = mentions(code);
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
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for module in imports.sources.keys() {
        graph.insert(module.clone(), imports.of(module));
    }
    for (from, to, _) in BETWEEN_FILES {
        let file = format!("src/{}.rs", from.replace("::", "/"));
        assert!(docs.contains(&file), "{file}, which may import {to}, is not argued for");
        let at = graph[*from].iter().position(|other| other == to);
        let at =
            at.unwrap_or_else(|| panic!("{from} no longer imports {to}; take the exception out"));
        graph.get_mut(*from).unwrap().remove(at);
    }
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
    assert_eq!(absolute("m", &passed[0]), ["m::a::X", "m::a::Y"]);
    assert_eq!(absolute("m", &rest), ["m::a::Z"]);
    assert_eq!(absolute("m::n", "use super::super::o::P; x::y(); Z::w();"), ["o::P", "m::n::x::y"]);
    // The source itself is read: the door of the client's messages leads to what lies behind it.
    let imports = Imports::new();
    assert_eq!(
        imports.file("registry::http::Response").as_deref(),
        Some("registry::http::message")
    );
}

#[test]
fn only_a_blob_opens_a_source() {
    let mut makers = Vec::new();
    for source in sources() {
        for line in source.code().lines().filter(|l| l.contains("Checked(()")) {
            makers.push((source.module.clone(), line.trim().to_owned()));
        }
    }
    let elsewhere: Vec<_> = makers.iter().filter(|(module, _)| module != "transport").collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    // Its definition, and the one place where a blob opens.
    assert_eq!(makers.len(), 2, "{makers:?}");
    let text = sources().into_iter().find(|s| s.module == "transport").unwrap().text;
    assert!(text.contains("pub struct Checked(());"), "the token's field must stay private");
}

#[test]
fn only_the_sockets_of_the_server_are_asynchronous() {
    let mut users: Vec<String> = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let code = source.code();
        if ["tokio::", "hyper::", "hyper_util::", "async fn", ".await"]
            .iter()
            .any(|w| code.contains(w))
        {
            users.push(source.module.clone());
        }
    }
    assert!(users.iter().any(|module| module == "serve::http"), "{users:?}");
    users.retain(|module| module != "serve::http" && !module.starts_with("serve::http::"));
    assert!(users.is_empty(), "{users:?}");
}

#[test]
fn the_library_neither_prints_nor_exits_nor_reads_the_environment() {
    let banned = [
        "println!",
        "eprintln!",
        "print!(",
        "dbg!",
        "process::exit",
        "std::env::var",
        "env::args",
        "env::current_dir",
        "env::temp_dir",
        "std::io::stderr",
        "SystemTime::now",
        "panic = ",
        "clap::",
        "indicatif::",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.library() && !s.is_test()) {
        for line in source.code().lines() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}: {word} in: {}", source.module, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

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
    let test = |s: &&Source| s.module.split("::").any(|part| part == "tests");
    for source in sources().iter().filter(|s| !test(s)) {
        for line in source.code().lines().filter(|line| compared(line)) {
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

#[test]
fn words_do_no_io() {
    let banned = ["std::fs", "std::net", "std::thread", "std::process", "rayon", "File::"];
    for source in sources().iter().filter(|s| entry(&s.module).is_some_and(|(_, f)| f <= 1)) {
        for word in banned {
            assert!(!source.code().contains(word), "{} uses {word}", source.module);
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in sources() {
        let first = source.text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{} has no header", source.path.display());
    }
}

#[test]
fn long_files_are_argued_for() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let docs = std::fs::read_to_string(docs).unwrap_or_default();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let lines = source.text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        let below = source.path.to_str().unwrap().split("/src/").last().unwrap();
        let argued = docs.contains(&format!("src/{below}"));
        assert!(lines <= 600 || argued, "src/{below} has {lines} lines without its tests");
    }
}

/// What every place must do stays little; what only networks do is in a trait beside it.
#[test]
fn a_sink_has_few_methods() {
    let text = sources().into_iter().find(|s| s.module == "transport").unwrap().text;
    let body = text.split("pub trait Sink").nth(1).unwrap();
    let body = body.split("\n}\n").next().unwrap();
    let methods = body.lines().filter(|line| line.starts_with("    fn ")).count();
    assert!((5..=11).contains(&methods), "{methods} methods");
}

/// Names of types that a file gives to other modules, outside of its tests.
fn shared_types(source: &Source) -> Vec<&str> {
    let body = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let name = |line| {
        let line = str::trim_start(line).strip_prefix("pub")?;
        let item = match line.strip_prefix('(') {
            Some(scoped) => scoped.split_once(')')?.1,
            None => line,
        };
        let item = item.strip_prefix(' ')?;
        let item = item.strip_prefix("unsafe ").unwrap_or(item);
        let (kind, name) = item.split_once(' ')?;
        let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
        ["struct", "enum", "trait", "type"].contains(&kind).then(|| &name[..end])
    };
    body.lines().filter_map(name).collect()
}

#[test]
fn no_name_of_a_type_means_two_things() {
    let all = sources();
    let mut files: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for source in all.iter().filter(|source| !source.module.contains("tests")) {
        for name in shared_types(source) {
            files.entry(name).or_default().push(&source.path);
        }
    }
    assert!(files.contains_key("Descriptor") && files.contains_key("RegistrySink"));
    let twice: Vec<_> = files.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "types of one name: {twice:#?}");
}
