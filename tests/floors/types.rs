//! What types are called, and how much one trait asks for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::source::{Source, sources};

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
    source.code.lines().filter_map(name).collect()
}

#[test]
fn no_name_of_a_type_means_two_things() {
    let all = sources();
    let mut files: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for source in &all {
        for name in shared_types(source) {
            files.entry(name).or_default().push(&source.path);
        }
    }
    assert!(files.contains_key("Descriptor") && files.contains_key("RegistrySink"));
    let twice: Vec<_> = files.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "types of one name: {twice:#?}");
}
