//! Requests that are meant to do harm: each is refused in words, none gives a 5xx, and what a request
//! cannot be told from the next one ends the connection. RFC 9112 sections 5.2, 6.1, 6.3, 11.2.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use super::call::{connect, head};
use super::{Case, Check, Miss, Outcome, fail, holds, same};
use crate::net::wire::{Body, Head};

/// The checks of this area: all of them can be made of a server that takes no push.
pub const CHECKS: &[Check] = &[
    Check::once("paths that climb", climbing),
    Check::once("paths with empty components", empty_components),
    Check::once("paths with NUL and controls", controls),
    Check::once("a URL of 1 MB", long_url),
    Check::once("headers of 1 MB", long_headers),
    Check::once("Content-Length with Transfer-Encoding", both_lengths),
    Check::once("two Content-Lengths", two_lengths),
    Check::once("a Content-Length that is none", bad_length),
    Check::once("a Transfer-Encoding that is none", bad_encoding),
    Check::once("a bad chunk", bad_chunk),
    Check::once("a header folded over lines", folded),
    Check::once("a blank before the colon", blank_colon),
    Check::once("no Host", no_host),
    Check::once("methods of no standard", methods),
    Check::once("it still answers", alive),
];

/// Sends each path, as it is; the answer must be one of these.
fn refuses(case: &Case, paths: &[String], statuses: &[u16]) -> Outcome {
    for path in paths {
        case.call("GET", path).send()?.one_of(statuses)?;
    }
    Ok(())
}

fn climbing(case: &Case) -> Outcome {
    let paths = [
        "/v2/..%2f../manifests/latest",
        "/v2/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/%2e%2e/b/manifests/latest",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
        "/v2/a/blobs/..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/manifests/..%2f..%2fx",
        "/v2/a/blobs/uploads/..%2f..%2f..%2fx",
        "/v2/a/../../../../etc/passwd",
        "/v2/a%5c..%5cb/manifests/latest",
        "/v2/%252e%252e/manifests/latest",
    ];
    refuses(case, &paths.map(str::to_owned), &[400, 404, 414])
}

fn empty_components(case: &Case) -> Outcome {
    let paths =
        ["/v2//manifests/latest", "/v2/a//b/manifests/latest", "/v2/a/manifests//", "//v2/"];
    refuses(case, &paths.map(str::to_owned), &[400, 404, 414])
}

fn controls(case: &Case) -> Outcome {
    let paths = [
        "/v2/a%00b/manifests/latest",
        "/v2/a/manifests/%00",
        "/v2/a/manifests/x%0d%0aSet-Cookie:%20x",
        "/v2/a%0a/tags/list",
        "/v2/a/manifests/%ff%fe",
        "/v2/a/manifests/%zz",
        "/v2/a/manifests/%",
        "/v2/a/blobs/sha256:%00",
    ];
    for path in paths {
        case.call("GET", path).send()?.one_of(&[400, 404])?.lacks("Set-Cookie")?;
    }
    Ok(())
}

fn long_url(case: &Case) -> Outcome {
    let path = format!("/v2/{}manifests/latest", "a/".repeat(500_000));
    case.call("GET", &path).send()?.one_of(&[400, 404, 414, 431]).map(|_| ())
}

fn long_headers(case: &Case) -> Outcome {
    let mut call = case.call("GET", "/v2/");
    for number in 0..1100 {
        call = call.header(&format!("X-{number}"), "x".repeat(1000));
    }
    call.send()?.one_of(&[400, 431]).map(|_| ())
}

/// A text sent as it is; the one answer to it, and whether the connection ended behind that.
fn raw(case: &Case, text: &str) -> Result<(Head, bool), Miss> {
    let run = || -> io::Result<(Head, bool)> {
        let stream: TcpStream = connect(&case.target.base)?;
        (&stream).write_all(text.as_bytes())?;
        let mut from = BufReader::new(&stream);
        let head = head(&mut from)?;
        let method = text.split(' ').next().unwrap_or_default();
        Body::new(&mut from, head.answer_framing(method)).read_to_end(&mut Vec::new())?;
        // Nothing more may come: not even the answer to what was smuggled.
        let closed = match from.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
        };
        Ok((head, closed))
    };
    run().or_else(|e| fail(format!("{:?}…: {e}", text.lines().next().unwrap_or_default())))
}

/// It is refused, and the connection ends: whoever waits behind a proxy is not given its answer.
fn ends(case: &Case, lines: &str, body: &str) -> Outcome {
    let host = &case.target.base;
    let path = "/v2/conformance/blobs/uploads/";
    let smuggled = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let text = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n\r\n{body}{smuggled}");
    let (head, closed) = raw(case, &text)?;
    same(&format!("{lines:?}: the status"), head.status(), 400)?;
    holds(&format!("{lines:?}: the connection goes on"), closed)
}

fn both_lengths(case: &Case) -> Outcome {
    ends(case, "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n")?;
    ends(case, "Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n")
}

fn two_lengths(case: &Case) -> Outcome {
    ends(case, "Content-Length: 0\r\nContent-Length: 5", "")?;
    ends(case, "Content-Length: 0, 5", "")
}

fn bad_length(case: &Case) -> Outcome {
    for length in ["-1", "+0", "0x0", "99999999999999999999999", "zero", "1 0"] {
        ends(case, &format!("Content-Length: {length}"), "")?;
    }
    Ok(())
}

fn bad_encoding(case: &Case) -> Outcome {
    for encoding in ["chunked, identity", "xchunked", "chunked, chunked"] {
        let host = &case.target.base;
        let text = format!(
            "POST /v2/conformance/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\n\
             Transfer-Encoding: {encoding}\r\n\r\n0\r\n\r\n"
        );
        // 501 is the standard's own word for it (RFC 9112, 6.1).
        let (head, closed) = raw(case, &text)?;
        let refused = matches!(head.status(), 400 | 501);
        holds(&format!("Transfer-Encoding: {encoding}: {}", head.status()), refused)?;
        holds(&format!("Transfer-Encoding: {encoding}: the connection goes on"), closed)?;
    }
    Ok(())
}

/// To where a body is read: the close of an upload that does not exist need not read it.
fn bad_chunk(case: &Case) -> Outcome {
    let place = if case.target.flags.readonly { case.at("blobs/uploads/x") } else { case.begin()? };
    let host = &case.target.base;
    for chunk in ["zz\r\nab\r\n", "-1\r\n\r\n", "fffffffffffffffff\r\n", "3\r\nabcdef\r\n0\r\n\r\n"]
    {
        let text = format!(
            "PATCH {place} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: application/octet-stream\r\n\r\n{chunk}"
        );
        let (head, closed) = raw(case, &text)?;
        let refused = match head.status() {
            400 => true,
            403..=405 => case.target.flags.readonly,
            _ => false,
        };
        holds(&format!("the chunk {chunk:?}: {}", head.status()), refused)?;
        holds(&format!("the chunk {chunk:?}: the connection goes on"), closed)?;
    }
    Ok(())
}

fn folded(case: &Case) -> Outcome {
    ends(case, "X-One: a\r\n b\r\nContent-Length: 0", "")?;
    ends(case, "Content-Length:\r\n 0", "")
}

fn blank_colon(case: &Case) -> Outcome {
    ends(case, "Content-Length : 0", "")?;
    ends(case, "Transfer-Encoding : chunked", "0\r\n\r\n")
}

fn no_host(case: &Case) -> Outcome {
    let (head, _) = raw(case, "GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    same("the status without Host", head.status(), 400)
}

fn methods(case: &Case) -> Outcome {
    for method in ["BREW", "TRACE", "CONNECT", "PROPFIND", "get"] {
        case.call(method, "/v2/conformance/tags/list").send()?.one_of(&[400, 404, 405])?;
    }
    Ok(())
}

fn alive(case: &Case) -> Outcome {
    case.call("GET", "/v2/").send()?.is(200).map(|_| ())
}
