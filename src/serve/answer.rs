//! Answers: status, headers and a body, which may be a range of a file; errors as the API's JSON.
//!
//! It knows no socket. OCI distribution-spec, "Error codes".

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::error::{Error, Kind};
use crate::serve::outgoing::Outgoing;

/// An answer to a client.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: ResponseBody,
}

/// The body of an answer.
pub enum ResponseBody {
    /// Bytes in memory, perhaps none.
    Bytes(Bytes),
    /// A blob, or a part of one.
    Blob(Outgoing),
    /// Not sent: what a HEAD would have sent is so many bytes.
    Length(u64),
}

impl ResponseBody {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.len(),
            Self::Length(length) => *length,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Answer {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: ResponseBody::Bytes(Bytes::new()) }
    }

    /// 200 with a body in memory.
    pub fn bytes(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let mut answer = Self::new(StatusCode::OK);
        answer.body = ResponseBody::Bytes(bytes.into());
        answer.with(header::CONTENT_TYPE, media_type)
    }

    /// 200 with a JSON document.
    pub fn json(value: &Value) -> Self {
        Self::bytes("application/json", crate::json::go_compact(value))
    }

    /// The same with one more header; a value that no header can carry is left out.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    /// The same as one of the API: clients that look for a registry look for this header.
    #[must_use]
    pub fn of_api(self) -> Self {
        self.with(HeaderName::from_static("docker-distribution-api-version"), "registry/2.0")
    }

    /// 404, for a path that nothing belongs to.
    pub fn nothing_here() -> Self {
        ApiError::new(Code::Unknown, "nothing found at this address")
            .status(StatusCode::NOT_FOUND)
            .into()
    }

    /// 405: why, with what would be allowed.
    pub fn not_allowed(why: &str, allowed: &[Method]) -> Self {
        let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        Self::from(ApiError::new(Code::Unsupported, why)).with(header::ALLOW, &allowed.join(", "))
    }
}

/// The error codes of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their names are all there is to say
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TagInvalid,
    RangeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unavailable,
    Unknown,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::TagInvalid => StatusCode::BAD_REQUEST,
            Self::SizeInvalid => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error as the API reports it.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: Code,
    message: String,
    detail: Value,
    status: StatusCode,
}

impl ApiError {
    /// A refusal; `message` is a lower-case fragment.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: Value::Null, status: code.status() }
    }

    /// The same with a detail.
    #[must_use]
    pub fn about(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The same under another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl From<ApiError> for Answer {
    fn from(fault: ApiError) -> Self {
        let mut error = json!({"code": fault.code.name(), "message": fault.message});
        if !fault.detail.is_null() {
            error["detail"] = fault.detail;
        }
        let mut answer = Self::json(&json!({"errors": [error]}));
        answer.status = fault.status;
        answer
    }
}

impl From<Error> for ApiError {
    /// What went wrong on our side; the words are shown, since who serves a stick is whom it concerns.
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Missing => Code::BlobUnknown,
            Kind::Usage => Code::Unsupported,
            Kind::Denied | Kind::Policy => Code::Denied,
            // What a medium does not give now it may give later.
            Kind::Busy | Kind::Interrupted | Kind::Io => Code::Unavailable,
            _ => Code::Unknown,
        };
        let fault = Self::new(code, error.to_string());
        match error.os_error().map(Errno::from_raw_os_error) {
            // docker, podman and skopeo show nothing but the status of what is our fault.
            Some(Errno::NOSPC | Errno::DQUOT) => fault.status(StatusCode::INSUFFICIENT_STORAGE),
            _ => fault,
        }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        ApiError::from(error).into()
    }
}
