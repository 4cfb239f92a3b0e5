//! What a sync did, as data and as the JSON of `--report`.
//!
//! It prints nothing. What failed can be read back and tried again; docs/FORMATS.md has the fields.

use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::json;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::sync::select::{self, Bare, Selection};

/// The version of the form.
const VERSION: u64 = 1;

/// The outcome for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is there now.
    Copied,
    /// It was there already.
    Unchanged,
    /// It is not there; the error says why.
    Failed,
    /// It was not tried.
    Skipped,
    /// It was taken away at the destination.
    Deleted,
}

impl Status {
    /// As the report has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Deleted => "deleted",
        }
    }
}

/// One image of a run.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name at the source, or what was wanted when it came to no image.
    pub source: String,
    /// Its name at the destination, where it has one.
    pub destination: Option<Reference>,
    /// The digest of its manifest or index at the destination.
    pub digest: Option<Digest>,
    /// What became of it.
    pub status: Status,
    /// Why it failed or was not tried.
    pub error: Option<Error>,
    /// Bytes of its blobs at the source, each counted once; 0 where unknown.
    pub bytes: u64,
    /// Whether it is a signature, an attestation or another companion.
    pub companion: bool,
    /// The platforms that a list wants of it.
    pub platforms: Vec<Platform>,
}

/// Sums over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of the blobs that were stored at the destination.
    pub bytes_sent: u64,
    /// Bytes of all blobs of the images that were copied, each blob once.
    pub unique_bytes: u64,
    /// How many blobs these are.
    pub blobs: u64,
    /// Blobs that were stored.
    pub stored: u64,
    /// Blobs that the destination had.
    pub reused: u64,
}

/// The outcome of a sync.
#[derive(Clone, Debug, Default)]
pub struct SyncReport {
    /// Images in the order in which they were wanted, companions behind them.
    pub entries: Vec<Entry>,
    /// Sums.
    pub totals: Totals,
    /// Why nothing was removed although something left the list.
    pub withheld: Option<Error>,
    /// What could not be used, and why.
    pub warnings: Vec<String>,
    /// Every image that is at the destination, with its name at the source: what `emit` needs.
    pub moved: Vec<crate::sync::emit::Moved>,
}

impl SyncReport {
    /// How many images, companions not counted, ended so.
    pub fn count(&self, status: Status) -> usize {
        self.entries.iter().filter(|e| e.status == status && !e.companion).count()
    }

    /// Everything that failed, companions too.
    pub fn failed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.status == Status::Failed)
    }

    /// The error of the whole run: the first one when nothing went well, `Partial` when something
    /// did; when everything did, why nothing was removed.
    pub fn error(&self) -> Option<Error> {
        let well = self.count(Status::Copied) + self.count(Status::Unchanged);
        whole(self.failed().filter_map(|e| e.error.as_ref()), well)
            .or_else(|| self.withheld.clone())
    }

    /// The JSON document.
    pub fn to_value(&self) -> Value {
        let entries: Vec<Value> = self.entries.iter().map(entry).collect();
        let images = |status| self.count(status);
        let mut value = json!({
            "imgpackReport": VERSION,
            "images": entries,
            "totals": {
                "copied": images(Status::Copied),
                "unchanged": images(Status::Unchanged),
                "failed": images(Status::Failed),
                "skipped": images(Status::Skipped),
                "deleted": images(Status::Deleted),
                "bytes_sent": self.totals.bytes_sent,
                "unique_bytes": self.totals.unique_bytes,
                "blobs": self.totals.blobs,
                "blobs_stored": self.totals.stored,
                "blobs_reused": self.totals.reused,
            },
            "warnings": self.warnings,
        });
        if let Some(why) = &self.withheld {
            value["withheld"] = told(why);
        }
        value
    }
}

/// An error as a report has it.
pub(super) fn told(error: &Error) -> Value {
    let kind = format!("{:?}", error.kind()).to_lowercase();
    json!({"kind": kind, "text": error.to_string()})
}

/// The error of a run in which `well` images went well, and others failed with these errors.
pub(super) fn whole<'e>(mut failed: impl Iterator<Item = &'e Error>, well: usize) -> Option<Error> {
    let first = failed.next()?;
    if well == 0 {
        return Some(first.clone());
    }
    let failed = 1 + failed.count();
    Some(Error::new(Kind::Partial, format!("{failed} of {} images failed", failed + well)))
}

fn entry(entry: &Entry) -> Value {
    let mut map = Map::new();
    map.insert("source".into(), entry.source.clone().into());
    map.insert("destination".into(), entry.destination.as_ref().map(ToString::to_string).into());
    map.insert("digest".into(), entry.digest.map(|d| d.to_string()).into());
    map.insert("status".into(), entry.status.name().into());
    if let Some(error) = &entry.error {
        map.insert("error".into(), told(error));
    }
    map.insert("bytes".into(), entry.bytes.into());
    if entry.companion {
        map.insert("companion".into(), true.into());
    }
    if !entry.platforms.is_empty() {
        let platforms = entry.platforms.iter().map(ToString::to_string);
        map.insert("platforms".into(), platforms.collect::<Vec<_>>().into());
    }
    Value::Object(map)
}

/// What to try again: everything that failed or was not tried, from the JSON of an earlier run.
///
/// # Errors
/// `Malformed`; `Unsupported` for a version that is not ours.
pub fn retry(bytes: &[u8]) -> Result<Selection> {
    let body = json::object(bytes)?;
    match body.get("imgpackReport").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(Error::unsupported(format!("report of version {other}"))),
        None => return Err(Error::malformed("not the report of a sync")),
    }
    let mut selection = Selection::default();
    let images = body.get("images").and_then(Value::as_array).map(Vec::as_slice);
    for (at, entry) in images.unwrap_or_default().iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        if !matches!(text("status"), Some("failed" | "skipped")) {
            continue;
        }
        let place = || format!("images[{at}]");
        let source =
            text("source").ok_or_else(|| Error::malformed("entry without a source").at(place()))?;
        let platforms = entry.get("platforms").and_then(Value::as_array).into_iter().flatten();
        let platforms = platforms.map(|p| p.as_str().unwrap_or_default().parse());
        let platforms = platforms.collect::<Result<Vec<Platform>>>();
        let malformed = |e: Error| e.kind_as(Kind::Malformed).at(place());
        let platforms = platforms.map_err(malformed)?;
        match select::item(source, &Bare::Latest) {
            Ok(wanted) => selection.add_for(wanted, platforms, false),
            // A list did not say which image it is.
            Err(e) => selection.fail(source.to_owned(), e),
        }
    }
    Ok(selection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, status: Status, error: Option<Error>) -> Entry {
        let destination = Some("r.local/x:1".parse().unwrap());
        let digest = Some(Digest::of(b"x"));
        Entry {
            source: source.into(),
            destination,
            digest,
            status,
            error,
            bytes: 5,
            companion: false,
            platforms: Vec::new(),
        }
    }

    #[test]
    fn what_failed_is_wanted_again() {
        let denied = Error::new(Kind::Denied, "no").input("quay.io");
        let report = SyncReport {
            entries: vec![
                entry("docker.io/library/nginx:1", Status::Copied, None),
                entry("quay.io/a:1", Status::Failed, Some(denied)),
                entry("quay.io/b:1.*", Status::Failed, Some(Error::missing("gone"))),
                entry("quay.io/c:1", Status::Skipped, None),
            ],
            ..SyncReport::default()
        };
        let value = report.to_value();
        assert_eq!(value["images"][1]["error"]["kind"], "denied");
        assert_eq!(value["images"][1]["error"]["text"], "quay.io: no");
        assert_eq!(value["totals"]["failed"], 2);
        let again = retry(value.to_string().as_bytes()).unwrap();
        let shown: Vec<String> = again.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["quay.io/a:1", "quay.io/b:1.*", "quay.io/c:1"]);
        for bad in [
            "{}",
            "[]",
            r#"{"imgpackReport":2}"#,
            r#"{"imgpackReport":1,"images":[{"status":"failed"}]}"#,
        ] {
            assert!(retry(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_failure_among_many_is_partial_and_alone_it_is_itself() {
        let denied = Error::new(Kind::Denied, "no");
        let failed = entry("a", Status::Failed, Some(denied));
        let mut report = SyncReport { entries: vec![failed], ..SyncReport::default() };
        assert_eq!(report.error().unwrap().kind(), Kind::Denied);
        report.entries.push(entry("b", Status::Unchanged, None));
        assert_eq!(report.error().unwrap().to_string(), "1 of 2 images failed");
        report.entries.remove(0);
        assert!(report.error().is_none());
    }
}
