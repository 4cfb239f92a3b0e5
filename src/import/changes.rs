//! The `--change` instructions of `docker import`: a small part of the Dockerfile language.
//!
//! It must not know images: text in, the `config` object of an image config out.
//!
//! Follows the Dockerfile reference, BuildKit's `frontend/dockerfile/parser` and `instructions`, and
//! Docker's `BuildFromConfig`; messages are Docker's. Compared with Docker 20.10's own results.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::shell::{self, ShellVariables};
use crate::error::{Error, Kind, Result};
use values::{Parsing, check_signal, duration, ports, working_dir};

/// What the instructions set; absent when nothing did.
#[derive(Default)]
struct ConfigChanges {
    user: String,
    ports: BTreeSet<String>,
    env: Vec<(String, String)>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    volumes: BTreeSet<String>,
    working_dir: String,
    labels: BTreeMap<String, String>,
    stop_signal: String,
    healthcheck: Option<Map<String, Value>>,
    on_build: Vec<String>,
    cmd_set: bool,
}

/// Applies the instructions in order and returns the fields they set, in Docker's order.
///
/// Each line is one `--change`; a backslash at a line's end joins the next one to it.
///
/// # Errors
/// [`Kind::Usage`] with Docker's message.
pub fn changes(lines: &[String]) -> Result<Map<String, Value>> {
    run(lines).map_err(|what| Error::new(Kind::Usage, what))
}

fn run(lines: &[String]) -> Parsing<Map<String, Value>> {
    if lines.is_empty() {
        return Ok(Map::new());
    }
    let joined = lines.join("\n");
    let instructions = logical_lines(&joined)
        .iter()
        .map(|l| Instruction::parse(l))
        .collect::<Parsing<Vec<_>>>()?;
    if instructions.is_empty() {
        return Err("file with no instructions".into());
    }
    if let Some(other) = instructions.iter().find(|i| i.args.is_none()) {
        return Err(format!("{} is not a valid change command", other.name));
    }
    let mut config = ConfigChanges::default();
    for instruction in &instructions {
        config.apply(instruction)?;
    }
    Ok(config.into_map())
}

/// Lines with comments and blank ones gone and continued ones joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let line = if current.is_none() { line.trim_start() } else { line };
        if current.is_some() && line.trim().is_empty() {
            continue;
        }
        let end = line.trim_end_matches([' ', '\t']);
        let (part, more) = match end.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        let mut whole = current.take().unwrap_or_default();
        whole.push_str(part);
        if more {
            current = Some(whole);
        } else if !whole.trim().is_empty() {
            out.push(whole);
        }
    }
    out.extend(current.filter(|l| !l.trim().is_empty()));
    out
}

/// The arguments in the form each instruction takes.
enum Args {
    /// One text, empty when there is none.
    Text(String),
    /// Words, or the strings of a JSON array.
    Words(Vec<String>),
    /// A JSON array, for which no shell is put in front.
    Json(Vec<String>),
    /// `name=value` pairs, still quoted.
    Pairs(Vec<(String, String)>),
    /// HEALTHCHECK's type and the rest.
    Typed(String, Box<Args>),
}

struct Instruction {
    name: String,
    flags: Vec<String>,
    /// None for an instruction that `--change` does not know.
    args: Option<Args>,
}

impl Instruction {
    fn parse(line: &str) -> Parsing<Self> {
        let (name, rest) = split_once(line.trim());
        let name = name.to_lowercase();
        let (flags, rest) = builder_flags(rest);
        let rest = rest.trim();
        let args = match name.as_str() {
            "cmd" | "entrypoint" => Some(maybe_json(rest)?),
            "env" | "label" => Some(Args::Pairs(pairs(rest, &name.to_uppercase())?)),
            "expose" => Some(Args::Words(plain_words(rest))),
            "healthcheck" => {
                let (kind, rest) = split_once(rest);
                Some(Args::Typed(kind.to_uppercase(), Box::new(maybe_json(rest)?)))
            }
            "onbuild" => Some(Args::Text(on_build(line, rest)?)),
            "volume" => Some(match maybe_json(rest)? {
                Args::Json(list) => Args::Words(list),
                _ => Args::Words(plain_words(rest)),
            }),
            "user" | "workdir" | "stopsignal" => Some(Args::Text(rest.to_string())),
            _ => None,
        };
        Ok(Self { name, flags, args })
    }

    fn title(&self) -> String {
        self.name.to_uppercase()
    }
}

/// The first word, and what follows the space after it.
fn split_once(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (text, ""),
    }
}

/// Leading words that begin with `--`, with quotes and escapes removed, and the rest.
fn builder_flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let mut flag = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => flag.extend(chars.next().map(|(_, c)| c)),
                c if quote == Some(c) => quote = None,
                '\'' | '"' if quote.is_none() => quote = Some(c),
                c if quote.is_none() && c.is_whitespace() => {
                    end = at;
                    break;
                }
                c => flag.push(c),
            }
        }
        rest = rest[end..].trim_start();
        if flag == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest)
}

/// A JSON array of strings, else the text as it is. What follows the array is ignored, as Docker
/// does.
fn maybe_json(rest: &str) -> Parsing<Args> {
    let text = || Ok(Args::Text(rest.to_string()));
    if !rest.starts_with('[') {
        return text();
    }
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Vec<Value>>();
    let Some(Ok(list)) = values.next() else { return text() };
    let strings: Option<Vec<String>> =
        list.into_iter().map(|v| v.as_str().map(str::to_string)).collect();
    strings.map(Args::Json).ok_or_else(|| {
        "when using JSON array syntax, arrays must be comprised of strings only".into()
    })
}

fn plain_words(rest: &str) -> Vec<String> {
    rest.split_whitespace().map(str::to_string).collect()
}

/// `name=value …`, or the old form `name value` where everything after the name is the value.
fn pairs(rest: &str, title: &str) -> Parsing<Vec<(String, String)>> {
    let words = quoted_words(rest);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let (name, value) = split_once(rest);
        if value.is_empty() {
            return Err(format!("{title} must have two arguments"));
        }
        return Ok(vec![(name.to_string(), value.to_string())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_string(), value.to_string())),
        None => {
            Err(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
        }
    };
    words.iter().map(pair).collect()
}

/// Words at unquoted spaces; quotes and escapes stay for the later step that understands them.
fn quoted_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => match chars.next() {
                Some(next) => {
                    word.push('\\');
                    word.push(next);
                    continue;
                }
                None => continue,
            },
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The instruction to run later, exactly as written.
fn on_build(line: &str, rest: &str) -> Parsing<String> {
    if rest.is_empty() {
        return Ok(String::new());
    }
    let trigger = split_once(rest).0.to_uppercase();
    match trigger.as_str() {
        "ONBUILD" => Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()),
        "MAINTAINER" | "FROM" => Err(format!("{trigger} isn't allowed as an ONBUILD trigger")),
        _ => {
            Instruction::parse(rest)?;
            Ok(split_once(line.trim_start()).1.to_string())
        }
    }
}

impl ConfigChanges {
    fn apply(&mut self, instruction: &Instruction) -> Parsing<()> {
        let title = instruction.title();
        let Some(args) = &instruction.args else { return Ok(()) };
        if instruction.name != "healthcheck" {
            read_flags(&instruction.flags, &[])?;
        }
        let env: ShellVariables = self.env.iter().cloned().collect();
        match (instruction.name.as_str(), args) {
            ("cmd", args) => {
                self.cmd = command(args, true);
                self.cmd_set = true;
            }
            ("entrypoint", args) => {
                self.entrypoint = command(args, false);
                if !self.cmd_set {
                    self.cmd.clear();
                }
            }
            ("env", Args::Pairs(pairs)) => {
                for (name, value) in expand_pairs(pairs, &title, &env)? {
                    match self.env.iter_mut().find(|(n, _)| *n == name) {
                        Some(old) => old.1 = value,
                        None => self.env.push((name, value)),
                    }
                }
            }
            ("label", Args::Pairs(pairs)) => self.labels.extend(expand_pairs(pairs, &title, &env)?),
            ("expose", Args::Words(list)) => {
                for spec in at_least_one(list, &title)? {
                    for spec in shell::words(spec, &env)? {
                        self.ports.extend(ports(&spec)?);
                    }
                }
            }
            ("volume", Args::Words(list)) => {
                for path in at_least_one(list, &title)? {
                    let path = shell::word(path.trim(), &env)?;
                    if path.is_empty() {
                        return Err("VOLUME specified can not be an empty string".into());
                    }
                    self.volumes.insert(path);
                }
            }
            ("healthcheck", Args::Typed(kind, rest)) => {
                self.healthcheck = Some(healthcheck(kind, rest, &instruction.flags)?);
            }
            ("onbuild", Args::Text(text)) if text.is_empty() => {
                return Err("ONBUILD requires at least one argument".into());
            }
            ("onbuild", Args::Text(text)) => self.on_build.push(text.clone()),
            (name, Args::Text(text)) => {
                if text.is_empty() {
                    return Err(format!("{title} requires exactly one argument"));
                }
                self.set_text(name, shell::word(text, &env)?)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_text(&mut self, name: &str, value: String) -> Parsing<()> {
        match name {
            "user" => self.user = value,
            "workdir" => self.working_dir = working_dir(&self.working_dir, &value)?,
            _ => {
                check_signal(&value)?;
                self.stop_signal = value;
            }
        }
        Ok(())
    }

    fn into_map(self) -> Map<String, Value> {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            let empty = match &value {
                Value::String(s) => s.is_empty(),
                Value::Array(a) => a.is_empty(),
                Value::Object(o) => o.is_empty(),
                _ => true,
            };
            if !empty {
                out.insert(key.to_string(), value);
            }
        };
        let set = |names: BTreeSet<String>| {
            Value::Object(names.into_iter().map(|n| (n, json!({}))).collect())
        };
        let env: Vec<String> = self.env.iter().map(|(n, v)| format!("{n}={v}")).collect();
        put("User", self.user.into());
        put("ExposedPorts", set(self.ports));
        put("Env", env.into());
        put("Entrypoint", self.entrypoint.into());
        put("Cmd", self.cmd.into());
        put("Volumes", set(self.volumes));
        put("WorkingDir", self.working_dir.into());
        put("Labels", Value::Object(self.labels.into_iter().map(|(k, v)| (k, v.into())).collect()));
        put("StopSignal", self.stop_signal.into());
        put("Healthcheck", self.healthcheck.map_or(Value::Null, Value::Object));
        put("OnBuild", self.on_build.into());
        out
    }
}

/// An exec form as it is, a shell form with the shell before it. A bare CMD becomes the shell
/// alone, a bare ENTRYPOINT nothing.
fn command(args: &Args, bare_shell: bool) -> Vec<String> {
    let mut out = vec!["/bin/sh".to_string(), "-c".to_string()];
    match args {
        Args::Json(list) => return list.clone(),
        Args::Text(text) if text.is_empty() && !bare_shell => return Vec::new(),
        Args::Text(text) if text.is_empty() => {}
        Args::Text(text) => out.push(text.clone()),
        _ => {}
    }
    out
}

fn at_least_one<'a>(list: &'a [String], title: &str) -> Parsing<&'a [String]> {
    if list.is_empty() {
        return Err(format!("{title} requires at least one argument"));
    }
    Ok(list)
}

fn expand_pairs(
    pairs: &[(String, String)],
    title: &str,
    env: &ShellVariables,
) -> Parsing<Vec<(String, String)>> {
    if pairs.is_empty() {
        return Err(format!("{title} requires at least one argument"));
    }
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(format!("{title} names can not be blank"));
    }
    pairs.iter().map(|(n, v)| Ok((shell::word(n, env)?, shell::word(v, env)?))).collect()
}

/// The values of `known` flags; the others are refused.
fn read_flags(flags: &[String], known: &[&str]) -> Parsing<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for flag in flags {
        let text = flag.strip_prefix("--").unwrap_or(flag);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if !known.contains(&name) {
            return Err(format!("Unknown flag: {name}"));
        }
        let value = value.ok_or_else(|| format!("Missing a value on flag: {name}"))?;
        if out.insert(name.to_string(), value.to_string()).is_some() {
            return Err(format!("Duplicate flag specified: {name}"));
        }
    }
    Ok(out)
}

fn healthcheck(kind: &str, rest: &Args, flags: &[String]) -> Parsing<Map<String, Value>> {
    let mut out = Map::new();
    let given = match rest {
        Args::Json(list) => !list.is_empty(),
        Args::Text(text) => !text.is_empty(),
        _ => false,
    };
    match kind {
        "" => return Err("HEALTHCHECK requires at least one argument".into()),
        "NONE" if given => return Err("HEALTHCHECK NONE takes no arguments".into()),
        "NONE" => {
            out.insert("Test".into(), json!(["NONE"]));
            return Ok(out);
        }
        "CMD" => {}
        _ => return Err(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")),
    }
    if !given {
        return Err("Missing command after HEALTHCHECK CMD".into());
    }
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"];
    let flags = read_flags(flags, &known)?;
    let test: Vec<String> = match rest {
        Args::Json(list) => [&["CMD".to_string()], list.as_slice()].concat(),
        Args::Text(text) => vec!["CMD-SHELL".to_string(), text.clone()],
        _ => Vec::new(),
    };
    out.insert("Test".into(), test.into());
    for (flag, key) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ] {
        let Some(text) = flags.get(flag).filter(|v| !v.is_empty()) else { continue };
        let nanos = duration(text).ok_or_else(|| format!("time: invalid duration {text:?}"))?;
        // Later engines take zero as unset, earlier ones refuse it.
        if nanos != 0 && nanos < 1_000_000 {
            return Err(format!("Interval {flag:?} cannot be less than 1ms"));
        }
        if nanos != 0 {
            out.insert(key.into(), nanos.into());
        }
    }
    if let Some(text) = flags.get("retries").filter(|v| !v.is_empty()) {
        let n: i32 = text
            .parse()
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))?;
        if n < 0 {
            return Err(format!("--retries must be at least 1 (not {n})"));
        }
        if n > 0 {
            out.insert("Retries".into(), n.into());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
mod values;
