//! Health checks, metrics, and the certificate to trust.

use http::{StatusCode, header};

use crate::serve::Registry;
use crate::serve::answer::Answer;

const TEXT: &str = "text/plain; charset=utf-8";

/// `/healthz`: the process answers.
pub(super) fn health() -> Answer {
    Answer::bytes(TEXT, "ok\n").with(header::CACHE_CONTROL, "no-store")
}

/// `/readyz`: all places can be read, and nobody asked to stop.
pub(super) fn ready(registry: &Registry) -> Answer {
    let why = if registry.status().is_draining() {
        Some("stopping\n".to_owned())
    } else if let Some(error) = registry.catalogue().unread() {
        Some(format!("cannot be read: {error}\n"))
    } else if registry.catalogue().parts().is_empty() {
        Some("no place can be read\n".to_owned())
    } else {
        None
    };
    let mut answer = Answer::bytes(TEXT, why.clone().unwrap_or_else(|| "ok\n".into()));
    if why.is_some() {
        answer.status = StatusCode::SERVICE_UNAVAILABLE;
    }
    answer.with(header::CACHE_CONTROL, "no-store")
}

/// `/metrics`.
pub(super) fn metrics(registry: &Registry) -> Answer {
    let repositories = registry.catalogue().repositories().len();
    let uploads = registry.writable().map_or(0, |writable| writable.uploads().count());
    let text = registry.status().metrics.text(repositories, uploads);
    Answer::bytes("text/plain; version=0.0.4; charset=utf-8", text)
}

/// `/ca.crt`: the certificate of the authority, when it is one of our own.
pub(super) fn authority(registry: &Registry) -> Answer {
    match registry.status().authority() {
        Some(pem) => Answer::bytes("application/x-x509-ca-cert", pem),
        None => Answer::nothing_here(),
    }
}
