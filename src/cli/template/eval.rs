//! Runs a parsed template over a JSON value.
//!
//! It must not know where the value comes from. What comes from the value is foreign and is escaped when it
//! becomes output; what the template's author wrote, and what `json` encodes, goes out as it is. So a
//! newline in a tag cannot forge a line, but `{{join .Tags "\n"}}` still makes lines.

use super::func::{self, Func};
use super::parse::{Block, Command, Expr, Pipe, TemplateNode, Term};
use super::print;
use super::value::Val;
use imgpack::{Error, Kind, Result};
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Range;

/// Most rounds of a `range` over a number, which may come from the data.
const ROUNDS: i64 = 1 << 20;

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Runs the nodes over `data`. With `header` the data are column names: functions that would reshape a
/// value leave names alone, and a missing name is not an error.
pub(super) fn run(src: &str, nodes: &[TemplateNode], data: &Value, header: bool) -> Result<String> {
    let dot = Val::foreign(data);
    let mut run = Run { src, vars: vec![("$", dot.clone())], out: String::new(), header };
    run.nodes(nodes, &dot)?;
    Ok(run.out)
}

struct Run<'a> {
    src: &'a str,
    /// Variables, innermost last.
    vars: Vec<(&'a str, Val<'a>)>,
    out: String,
    header: bool,
}

impl<'a> Run<'a> {
    /// An error in Go's form, with the line (1-based) and column (0-based, in bytes) of `at`.
    fn fault(&self, at: usize, span: &Range<usize>, what: impl AsRef<str>) -> Error {
        let before = &self.src[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1);
        let text = &self.src[span.clone()];
        let what = what.as_ref();
        Error::new(
            Kind::Usage,
            format!(
                "template parsing error: template: :{line}:{column}: executing \"\" at <{text}>: {what}"
            ),
        )
    }

    fn nodes(&mut self, nodes: &'a [TemplateNode], dot: &Val<'a>) -> Result<Flow> {
        for node in nodes {
            let flow = match node {
                TemplateNode::Text(text) => {
                    self.out.push_str(text);
                    Flow::On
                }
                TemplateNode::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.vars.is_empty() {
                        self.out.push_str(&match &*value.value {
                            Value::Null => Cow::Borrowed("<no value>"),
                            _ => print::shown(&value),
                        });
                    }
                    Flow::On
                }
                TemplateNode::If(block) => self.branch(block, dot, false)?,
                TemplateNode::With(block) => self.branch(block, dot, true)?,
                TemplateNode::Range(block) => self.range(block, dot)?,
                TemplateNode::Break => Flow::Break,
                TemplateNode::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, block: &'a Block, dot: &Val<'a>, with: bool) -> Result<Flow> {
        let scope = self.vars.len();
        let value = self.pipe(&block.pipe, dot)?;
        let flow = match value.truth() {
            true => self.nodes(&block.body, if with { &value } else { dot })?,
            false => self.nodes(&block.other, dot)?,
        };
        self.vars.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, block: &'a Block, dot: &Val<'a>) -> Result<Flow> {
        let scope = self.vars.len();
        let list = self.value(&block.pipe, dot)?;
        let items = items(list).map_err(|what| {
            self.fault(
                block.pipe.span.start,
                &block.pipe.span,
                format!("range can't iterate over {what}"),
            )
        })?;
        if items.is_empty() {
            return self.nodes(&block.other, dot);
        }
        let vars = &block.pipe.vars;
        for (key, item) in items {
            if let [first, .., last] = &vars[..] {
                self.set(&block.pipe, first, key)?;
                self.set(&block.pipe, last, item.clone())?;
            } else if let Some(only) = vars.first() {
                self.set(&block.pipe, only, item.clone())?;
            }
            let flow = self.nodes(&block.body, &item)?;
            self.vars.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// Declares or assigns one variable.
    fn set(&mut self, pipe: &'a Pipe, name: &'a str, value: Val<'a>) -> Result<()> {
        if !pipe.assign {
            self.vars.push((name, value));
            return Ok(());
        }
        match self.vars.iter_mut().rev().find(|(var, _)| *var == name) {
            Some((_, old)) => *old = value,
            None => return Err(self.undefined(name, pipe.span.start, &pipe.span)),
        }
        Ok(())
    }

    /// The parser sees most of these; left are variables declared in a branch that was not taken.
    fn undefined(&self, name: &str, at: usize, span: &Range<usize>) -> Error {
        self.fault(at, span, format!("undefined variable: {name}"))
    }

    /// The value of a pipeline, given to its variables.
    fn pipe(&mut self, pipe: &'a Pipe, dot: &Val<'a>) -> Result<Val<'a>> {
        let value = self.value(pipe, dot)?;
        for name in &pipe.vars {
            self.set(pipe, name, value.clone())?;
        }
        Ok(value)
    }

    fn value(&mut self, pipe: &'a Pipe, dot: &Val<'a>) -> Result<Val<'a>> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_else(|| Val::own(Value::Null)))
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Val<'a>,
        last: Option<Val<'a>>,
    ) -> Result<Val<'a>> {
        let first = &command.words[0];
        let words = &command.words[1..];
        if let Term::Func(func) = first.kind {
            return self.call(func, first, &command.span, words, dot, last);
        }
        if words.is_empty() && last.is_none() {
            return match first.kind {
                Term::Nil => Err(self.fault(first.at, &first.span, "nil is not a command")),
                _ => self.operand(first, dot),
            };
        }
        let what = match first.fields.last() {
            Some(field) => format!("{field} is not a method but has arguments"),
            None => {
                format!("can't give argument to non-function {}", &self.src[first.span.clone()])
            }
        };
        Err(self.fault(first.at, &first.span, what))
    }

    fn call(
        &mut self,
        func: Func,
        first: &Expr,
        span: &Range<usize>,
        words: &'a [Expr],
        dot: &Val<'a>,
        last: Option<Val<'a>>,
    ) -> Result<Val<'a>> {
        let count = words.len() + usize::from(last.is_some());
        func.accepts(count).map_err(|what| self.fault(first.at, &first.span, what))?;
        let mut args = Vec::with_capacity(count);
        for word in words {
            let arg = self.operand(word, dot)?;
            // `and` and `or` stop at the first argument that decides.
            if func.decided_by(arg.truth()) {
                return Ok(arg);
            }
            args.push(arg);
        }
        args.extend(last);
        func::call(func, args, self.header).map_err(|what| {
            self.fault(first.at, span, format!("error calling {}: {what}", func.name()))
        })
    }

    fn operand(&mut self, expr: &'a Expr, dot: &Val<'a>) -> Result<Val<'a>> {
        let mut value = match &expr.kind {
            Term::Dot => dot.clone(),
            Term::Nil => Val::own(Value::Null),
            Term::Literal(value) => Val { value: Cow::Borrowed(value), clean: true },
            Term::Var(name) => {
                match self.vars.iter().rev().find(|(var, _)| *var == name.as_str()) {
                    Some((_, value)) => value.clone(),
                    None => return Err(self.undefined(name, expr.at, &expr.span)),
                }
            }
            Term::Func(func) => self.call(*func, expr, &expr.span, &[], dot, None)?,
            Term::Paren(pipe) => self.pipe(pipe, dot)?,
        };
        let mut parent = "";
        for name in &expr.fields {
            value = self.field(value, parent, name, expr)?;
            parent = name;
        }
        Ok(value)
    }

    fn field(&self, value: Val<'a>, parent: &str, name: &str, expr: &Expr) -> Result<Val<'a>> {
        if let Some(found) = value.part(|value| value.get(name)) {
            return Ok(found);
        }
        let what = match &*value.value {
            _ if self.header => return Ok(Val::own(Value::Null)),
            // Docker holds these as maps of strings, whose missing keys it prints as <no value>.
            Value::Object(_) | Value::Null if matches!(parent, "Labels" | "Annotations") => {
                return Ok(Val::own(Value::Null));
            }
            Value::Object(_) => format!("map has no entry for key {name:?}"),
            Value::Null => format!("nil pointer evaluating interface {{}}.{name}"),
            _ => format!("can't evaluate field {name} in type interface {{}}"),
        };
        Err(self.fault(expr.at, &expr.span, what))
    }
}

/// The keys and items that `range` goes through, or the text of a value it cannot go through.
fn items(list: Val<'_>) -> Result<Vec<(Val<'_>, Val<'_>)>, String> {
    let clean = list.clean;
    let item = |value| Val { value, clean };
    let index = |n: usize| Val::own(n);
    match list.value {
        Cow::Borrowed(Value::Array(values)) => {
            let values = values.iter().map(Cow::Borrowed).map(item);
            Ok(values.enumerate().map(|(n, value)| (index(n), value)).collect())
        }
        Cow::Owned(Value::Array(values)) => {
            let values = values.into_iter().map(Cow::Owned).map(item);
            Ok(values.enumerate().map(|(n, value)| (index(n), value)).collect())
        }
        Cow::Borrowed(Value::Object(map)) => {
            let mut map: Vec<_> = map.iter().collect();
            map.sort_unstable_by_key(|(key, _)| *key);
            let key = |key: &String| item(Cow::Owned(Value::from(key.as_str())));
            Ok(map.into_iter().map(|(k, v)| (key(k), item(Cow::Borrowed(v)))).collect())
        }
        Cow::Owned(Value::Object(map)) => {
            let mut map: Vec<_> = map.into_iter().collect();
            map.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let owned = |value| item(Cow::Owned(value));
            Ok(map.into_iter().map(|(k, v)| (owned(k.into()), owned(v))).collect())
        }
        value => match (&*value, value.as_i64()) {
            (Value::Null, _) => Ok(Vec::new()),
            (_, Some(end)) if end <= ROUNDS => {
                Ok((0..end).map(|n| (Val::own(n), Val::own(n))).collect())
            }
            _ => Err(print::shown(&Val { value, clean }).into_owned()),
        },
    }
}
