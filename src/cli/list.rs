//! A list of objects as a table, as JSON lines, or through a Go template: what docker's list
//! commands share.

use imgpack::Result;
use serde_json::Value;

use super::template::Format;
use super::{out, table};

/// A column: the field it shows and its header.
pub(crate) type Column = (&'static str, &'static str);

/// Prints `values`; `columns` are those of the plain table, `headers` all that a template may name.
///
/// # Errors
/// `Usage` when a template asks for a field there is not, `Closed`, `Io`.
pub(crate) fn show(
    values: &[Value],
    format: &Format,
    columns: &[Column],
    headers: &[Column],
) -> Result<()> {
    match format {
        Format::Json => values.iter().try_for_each(|value| out::line(&value.to_string())),
        Format::Template(template) => {
            values.iter().try_for_each(|value| out::line(&template.render(value)?))
        }
        Format::Table(Some(template)) => {
            out::print(&table::render(&template.table(headers, values)?))
        }
        Format::Table(None) => {
            let names: Vec<&str> = columns.iter().map(|(_, header)| *header).collect();
            let row =
                |value: &Value| columns.iter().map(|(field, _)| cell(&value[field])).collect();
            let rows: Vec<Vec<String>> = values.iter().map(row).collect();
            out::print(&table::with_header(&names, &rows))
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
