//! The access log: a line on standard error for each request.

use std::io::IsTerminal;

use clap::ValueEnum;
use imgpack::serve::log::{NoRequestLog, RequestLog, RequestRecord};
use imgpack::text::{escape, escape_long};
use time::OffsetDateTime;

use crate::cli::out;

/// How requests are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, nothing elsewhere
    Auto,
    /// A line of text for each request
    Text,
    /// A JSON object on a line for each request
    Json,
    /// Nothing
    None,
}

/// Who listens.
pub(crate) fn open(form: LogFormat) -> std::sync::Arc<dyn RequestLog> {
    match form {
        LogFormat::Text => std::sync::Arc::new(Text),
        LogFormat::Json => std::sync::Arc::new(Json),
        LogFormat::Auto if std::io::stderr().is_terminal() => std::sync::Arc::new(Text),
        LogFormat::Auto | LogFormat::None => std::sync::Arc::new(NoRequestLog),
    }
}

fn now() -> String {
    // Always as wide, so that lines stand beneath one another.
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

fn millis(entry: &RequestRecord<'_>) -> f64 {
    (entry.elapsed.as_micros() as f64 / 100.0).round() / 10.0
}

struct Text;

impl RequestLog for Text {
    fn entry(&self, entry: &RequestRecord<'_>) {
        out::error_line(&text(entry, &now()));
    }
}

fn text(entry: &RequestRecord<'_>, now: &str) -> String {
    // A name that holds a blank must not look like two words.
    let word = |text: &str| escape(text).replace(' ', "\\x20");
    format!(
        "{now} {} {} {} {} {} {} {}ms \"{}\" {}",
        entry.remote,
        entry.user.filter(|user| !user.is_empty()).map_or("-".into(), word),
        word(entry.method),
        escape_long(entry.target),
        entry.status,
        entry.bytes,
        millis(entry),
        escape(entry.agent.unwrap_or("-")).replace('"', "\\x22"),
        word(entry.id),
    )
}

struct Json;

impl RequestLog for Json {
    fn entry(&self, entry: &RequestRecord<'_>) {
        out::error_line(&json(entry, &now()));
    }
}

fn json(entry: &RequestRecord<'_>, now: &str) -> String {
    serde_json::json!({
        "time": now,
        "remote": entry.remote.to_string(),
        "user": entry.user.map(escape),
        "method": escape(entry.method),
        "path": escape_long(entry.target),
        "status": entry.status,
        "bytes": entry.bytes,
        "ms": millis(entry),
        "agent": entry.agent.map(escape),
        "id": escape(entry.id),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry() -> RequestRecord<'static> {
        RequestRecord {
            remote: "192.0.2.1:4711".parse().unwrap(),
            user: Some("al b"),
            method: "GET",
            target: "/v2/a/manifests/1",
            status: 200,
            bytes: 12,
            elapsed: Duration::from_micros(1_260),
            agent: Some("x\"\x1b[2J\ny"),
            id: "abc",
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_client_calls_itself() {
        assert_eq!(
            text(&entry(), "T"),
            "T 192.0.2.1:4711 al\\x20b GET /v2/a/manifests/1 200 12 1.3ms \
             \"x\\x22\\x1b[2J\\x0ay\" abc"
        );
        let line = json(&entry(), "T");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((value["status"].as_u64(), value["ms"].as_f64()), (Some(200), Some(1.3)));
        assert!(!line.contains(['\n', '\x1b']), "{line}");
    }
}
