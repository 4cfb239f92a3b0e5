//! Defaults: flags come first, then `IMGPACK_*`, then the configuration file.

use std::path::PathBuf;

use clap::{Arg, Command};
use imgpack::{Error, Kind, Result};

/// Flags that belong to one call and are never a default.
const NO_DEFAULT: [&str; 22] = [
    "get_login",
    "output",
    "input",
    "tag",
    "help",
    "version",
    "all",
    "digestfile",
    "created",
    "name",
    "file",
    "from_k8s",
    "from_compose",
    "lock",
    "lock_out",
    "report",
    "retry",
    "emit",
    "src",
    "dest",
    "yes",
    "print_config",
];

/// A command with all its defaults in place.
///
/// # Errors
/// `Usage` when the configuration file cannot be read.
pub(crate) fn command(command: Command) -> Result<Command> {
    let settings = settings()?;
    let known = std::cell::RefCell::new(std::collections::HashSet::new());
    let adapt = |arg: Arg, verb: Option<&str>| {
        let id = arg.get_id().as_str().to_owned();
        if arg.is_positional() || NO_DEFAULT.contains(&id.as_str()) {
            return arg;
        }
        known.borrow_mut().insert(id.clone());
        let variable = format!("IMGPACK_{}", id.to_uppercase());
        let arg = arg.env(variable).hide_env(true);
        let in_verb = verb.and_then(|v| settings.get(v)?.as_table()?.get(&id));
        match in_verb.or_else(|| settings.get(&id)) {
            Some(value) => match &text(value) {
                Some(values) if !values.is_empty() => arg.default_values(values.clone()),
                _ => arg,
            },
            None => arg,
        }
    };
    let command = command.mut_args(|arg| adapt(arg, None)).mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        // A flag that is given twice counts as given last, so that an alias can be overridden.
        let sub = sub.args_override_self(true);
        sub.mut_args(|arg| adapt(arg, Some(&name)))
    });
    let unknown = |key: &str| {
        let what = format!("unknown setting {:?}", imgpack::text::escape(key));
        Error::new(Kind::Usage, what).input(path().display().to_string())
    };
    let known = known.borrow();
    for (key, value) in &settings {
        let verb = command.get_subcommands().find(|s| s.get_name() == key);
        match (verb, value.as_table()) {
            (Some(verb), Some(table)) => {
                let own = |key: &str| verb.get_arguments().any(|a| a.get_id() == key);
                let strange = table.keys().find(|k| !known.contains(*k) || !own(k));
                if let Some(inner) = strange {
                    return Err(unknown(&format!("{key}.{inner}")));
                }
            }
            _ if known.contains(key) => {}
            _ => return Err(unknown(key)),
        }
    }
    drop(known);
    Ok(command)
}

fn text(value: &toml::Value) -> Option<Vec<String>> {
    Some(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(flag) => vec![flag.to_string()],
        toml::Value::Array(items) => {
            items.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        }
        _ => return None,
    })
}

fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("IMGPACK_CONFIG") {
        return path.into();
    }
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".config")
    });
    base.join("imgpack/config.toml")
}

fn settings() -> Result<toml::Table> {
    let path = path();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(toml::Table::new()),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(toml::Table::new()),
        Err(e) => return Err(Error::io(&path, "reading the configuration", &e)),
    };
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        Error::new(Kind::Usage, e.message().to_owned()).input(path.display().to_string())
    })?;
    // Written as on the command line: `log-file`; known to us as `log_file`.
    fn fold(table: toml::Table) -> toml::Table {
        table
            .into_iter()
            .map(|(key, value)| {
                let value = match value {
                    toml::Value::Table(inner) => toml::Value::Table(fold(inner)),
                    value => value,
                };
                (key.replace('-', "_"), value)
            })
            .collect()
    }
    Ok(fold(table))
}
