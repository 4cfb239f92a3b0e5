//! Metrics in the format of Prometheus: requests, answers, durations.
//!
//! It knows no socket and no clock. Prometheus text exposition format, version 0.0.4.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::serve::route::Route;

/// The operation of a request; one label each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their names are all there is to say
pub enum Operation {
    Base,
    Catalog,
    Tags,
    Referrers,
    GetManifest,
    PutManifest,
    DeleteManifest,
    GetBlob,
    DeleteBlob,
    Upload,
    Page,
    Other,
}

const OPERATIONS: [(Operation, &str); 12] = [
    (Operation::Base, "base"),
    (Operation::Catalog, "catalog"),
    (Operation::Tags, "tags"),
    (Operation::Referrers, "referrers"),
    (Operation::GetManifest, "get_manifest"),
    (Operation::PutManifest, "put_manifest"),
    (Operation::DeleteManifest, "delete_manifest"),
    (Operation::GetBlob, "get_blob"),
    (Operation::DeleteBlob, "delete_blob"),
    (Operation::Upload, "upload"),
    (Operation::Page, "page"),
    (Operation::Other, "other"),
];

impl Operation {
    /// The operation of a request; `Other` for an unknown path.
    pub fn of(method: &Method, route: Option<&Route>) -> Self {
        match (route, method) {
            (Some(Route::Base), _) => Self::Base,
            (Some(Route::Catalog), _) => Self::Catalog,
            (Some(Route::Tags(_)), _) => Self::Tags,
            (Some(Route::Referrers(..)), _) => Self::Referrers,
            (Some(Route::Manifest(..)), &Method::PUT) => Self::PutManifest,
            (Some(Route::Manifest(..)), &Method::DELETE) => Self::DeleteManifest,
            (Some(Route::Manifest(..)), _) => Self::GetManifest,
            (Some(Route::Blob(..)), &Method::DELETE) => Self::DeleteBlob,
            (Some(Route::Blob(..)), _) => Self::GetBlob,
            (Some(Route::Uploads(_) | Route::Upload(..)), _) => Self::Upload,
            (Some(Route::Page(_)), _) => Self::Page,
            _ => Self::Other,
        }
    }
}

/// Statuses that are counted by themselves; the others as the first of their hundred.
const STATUSES: [u16; 26] = [
    200, 201, 202, 204, 206, 300, 301, 304, 307, 400, 401, 403, 404, 405, 409, 412, 413, 414, 416,
    429, 431, 500, 501, 503, 507, 100,
];

/// Upper ends of the buckets of the histogram, in milliseconds.
const BUCKETS: [u64; 8] = [1, 5, 20, 100, 500, 2_000, 10_000, 60_000];

/// The counts of one server.
#[derive(Default)]
pub struct Metrics {
    answers: [[AtomicU64; STATUSES.len()]; OPERATIONS.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    /// Bytes that came in.
    pub received: AtomicU64,
    /// Bytes that went out.
    pub sent: AtomicU64,
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Connections that were taken.
    pub accepted: AtomicU64,
    /// Requests that bring bytes of uploads, and are being answered.
    pub uploading: AtomicU64,
    /// Wrong passwords.
    pub denied: AtomicU64,
    /// Documents that were in memory.
    pub hits: AtomicU64,
    /// Documents that had to be read.
    pub misses: AtomicU64,
}

/// Counts one thing while it is there.
pub struct Gauge<'m>(&'m AtomicU64);

impl<'m> Gauge<'m> {
    /// One more, until dropped.
    pub fn new(count: &'m AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Counts an answer whose headers were ready after `took`.
    pub fn answered(&self, operation: Operation, status: StatusCode, took: Duration) {
        let at = |code: u16| STATUSES.iter().position(|s| *s == code);
        let status = at(status.as_u16()).or(at(status.as_u16() / 100 * 100)).unwrap_or(0);
        let operation = OPERATIONS.iter().position(|(o, _)| *o == operation).unwrap_or(0);
        self.answers[operation][status].fetch_add(1, Relaxed);
        let millis = took.as_millis();
        let bucket = BUCKETS.iter().position(|end| millis < u128::from(*end));
        self.buckets[bucket.unwrap_or(BUCKETS.len())].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// All of them as text, beside how many repositories there are, and uploads that were begun.
    pub fn text(&self, repositories: usize, uploads: usize) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, repositories, uploads);
        out
    }

    fn write(&self, out: &mut String, repositories: usize, uploads: usize) -> std::fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        head(out, "imgpack_build_info", "gauge", "Version of imgpack.")?;
        writeln!(out, "imgpack_build_info{{version=\"{version}\"}} 1")?;
        let help = "Requests by operation and status; malformed requests count as other.";
        head(out, "imgpack_requests_total", "counter", help)?;
        for ((_, operation), counts) in OPERATIONS.iter().zip(&self.answers) {
            for (status, count) in STATUSES.iter().zip(counts) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let labels = format!("operation=\"{operation}\",status=\"{status}\"");
                    writeln!(out, "imgpack_requests_total{{{labels}}} {count}")?;
                }
            }
        }
        let name = "imgpack_request_seconds";
        head(out, name, "histogram", "Time until the headers of a response were ready.")?;
        let mut sum = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            sum += count.load(Relaxed);
            match BUCKETS.get(at) {
                Some(end) => {
                    writeln!(out, "{name}_bucket{{le=\"{}\"}} {sum}", seconds(*end * 1000))?;
                }
                None => writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {sum}")?,
            }
        }
        writeln!(out, "{name}_sum {}", seconds(self.micros.load(Relaxed)))?;
        writeln!(out, "{name}_count {sum}")?;
        for (name, kind, help, value) in [
            ("received_bytes_total", "counter", "Bytes received.", &self.received),
            ("sent_bytes_total", "counter", "Bytes sent.", &self.sent),
            ("connections", "gauge", "Open connections.", &self.connections),
            ("connections_total", "counter", "Accepted connections.", &self.accepted),
            ("upload_requests", "gauge", "Requests with an upload in progress.", &self.uploading),
            ("denied_total", "counter", "Wrong passwords.", &self.denied),
            ("cache_hits_total", "counter", "Documents found in memory.", &self.hits),
            ("cache_misses_total", "counter", "Documents read from disk.", &self.misses),
        ] {
            head(out, &format!("imgpack_{name}"), kind, help)?;
            writeln!(out, "imgpack_{name} {}", value.load(Relaxed))?;
        }
        let help = "Unfinished uploads.";
        head(out, "imgpack_active_uploads", "gauge", help)?;
        writeln!(out, "imgpack_active_uploads {uploads}")?;
        head(out, "imgpack_repositories", "gauge", "Served repositories.")?;
        writeln!(out, "imgpack_repositories {repositories}")
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Microseconds as seconds.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_operation_status_and_time() {
        let metrics = Metrics::default();
        let route = crate::serve::route::read("/v2/a/manifests/1").unwrap();
        let get = Operation::of(&Method::HEAD, Some(&route));
        for (status, micros) in [(200, 500), (200, 7_000), (404, 3_000_000), (499, 90_000_000)] {
            let status = StatusCode::from_u16(status).unwrap();
            metrics.answered(get, status, Duration::from_micros(micros));
        }
        let _open = Gauge::new(&metrics.connections);
        drop(Gauge::new(&metrics.uploading));
        let text = metrics.text(3, 2);
        for line in [
            "imgpack_requests_total{operation=\"get_manifest\",status=\"200\"} 2",
            "imgpack_requests_total{operation=\"get_manifest\",status=\"404\"} 1",
            "imgpack_requests_total{operation=\"get_manifest\",status=\"400\"} 1",
            "imgpack_request_seconds_bucket{le=\"0.001\"} 1",
            "imgpack_request_seconds_bucket{le=\"0.02\"} 2",
            "imgpack_request_seconds_bucket{le=\"10\"} 3",
            "imgpack_request_seconds_bucket{le=\"+Inf\"} 4",
            "imgpack_request_seconds_sum 93.0075",
            "imgpack_connections 1",
            "imgpack_upload_requests 0",
            "imgpack_active_uploads 2",
            "imgpack_repositories 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.lines().all(|l| l.starts_with('#') || l.split(' ').count() == 2), "{text}");
    }
}
