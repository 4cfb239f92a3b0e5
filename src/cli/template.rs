//! Docker's `--format`: the part of Go's `text/template` that is of use for JSON values.
//!
//! It must not know images, containers or commands: callers bring values and column names. It follows
//! <https://pkg.go.dev/text/template> with docker's own functions and error texts (observed in docker 28).
//! Left out are `define`, `template` and `block`, method calls, complex numbers, and Go's functions for
//! HTML, JavaScript and URLs. Two things differ on purpose. Numbers of documents are numbers, so
//! `{{gt .Size 1000}}` works everywhere. And text from the value is escaped on output, so that no name can
//! forge a line or steer a terminal.

mod eval;
mod func;
mod lex;
mod parse;
mod print;
mod value;

use imgpack::Result;
use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    src: String,
    nodes: Vec<parse::TemplateNode>,
}

/// What a list command's `--format` asks for.
#[derive(Debug)]
pub(crate) enum Format {
    /// `table`, alone for the command's own columns.
    Table(Option<Template>),
    /// `json`: one object a line.
    Json,
    /// One rendered line an object.
    Template(Template),
}

impl Format {
    /// Reads the argument of `--format`; empty text is the command's own table.
    ///
    /// # Errors
    /// `Usage` when the template does not parse.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix("table") {
            _ if text.is_empty() => Ok(Self::Table(None)),
            _ if text == "json" => Ok(Self::Json),
            Some(rest) if rest.trim().is_empty() => Ok(Self::Table(None)),
            Some(rest) if rest.starts_with([' ', '\t', '\\', '{']) => {
                Template::parse_list(rest.trim_matches(' ')).map(|it| Self::Table(Some(it)))
            }
            _ => Template::parse_list(text.trim_matches(' ')).map(Self::Template),
        }
    }
}

impl Template {
    /// Parses a template as `inspect` takes it.
    ///
    /// # Errors
    /// `Usage`, in docker's words, when it does not parse.
    pub(crate) fn parse(src: &str) -> Result<Self> {
        Ok(Self { src: src.to_string(), nodes: parse::parse(src)? })
    }

    /// Parses a template as list commands take it: `\t` and `\n` outside actions are the characters.
    ///
    /// # Errors
    /// As `parse`.
    pub(crate) fn parse_list(src: &str) -> Result<Self> {
        let mut template = Self::parse(src)?;
        unescape(&mut template.nodes);
        Ok(template)
    }

    /// Runs the template; the result has no newline at its end but the template's own.
    ///
    /// # Errors
    /// `Usage`, in docker's words, when the value lacks a field or a function refuses an argument.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        eval::run(&self.src, &self.nodes, value, false)
    }

    /// The rows of a table: first the header, made by the same template from the columns' names (field and
    /// header, `("ID", "IMAGE ID")`), then one row or more a value. Tabs end cells.
    ///
    /// # Errors
    /// As `render`.
    pub(crate) fn table(
        &self,
        names: &[(&str, &str)],
        values: &[Value],
    ) -> Result<Vec<Vec<String>>> {
        let names =
            names.iter().map(|(field, name)| (field.to_string(), Value::from(*name))).collect();
        // A template can do to a value what it cannot do to a name, such as `range`: then no header.
        let header =
            eval::run(&self.src, &self.nodes, &Value::Object(names), true).unwrap_or_default();
        let mut rows = cells(&header);
        for value in values {
            rows.extend(cells(&self.render(value)?));
        }
        Ok(rows)
    }
}

/// Rendered lines as rows. Tabs and newlines of the data are escaped by now; these are the template's own.
fn cells(text: &str) -> Vec<Vec<String>> {
    text.split('\n').map(|line| line.split('\t').map(str::to_string).collect()).collect()
}

fn unescape(nodes: &mut [parse::TemplateNode]) {
    for node in nodes {
        match node {
            parse::TemplateNode::Text(text) if text.contains('\\') => {
                *text = text.replace("\\t", "\t").replace("\\n", "\n");
            }
            parse::TemplateNode::If(block)
            | parse::TemplateNode::With(block)
            | parse::TemplateNode::Range(block) => {
                unescape(&mut block.body);
                unescape(&mut block.other);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
