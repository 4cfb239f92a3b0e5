//! HTTP itself, where clients depend on it: lengths, connections that go on, encoded paths, old versions.
//! RFC 9110, 9112.

use std::io::{self, BufReader, Read as _, Write as _};

use super::call::{Answer, connect, head, read};
use super::shapes;
use super::{Case, Check, Miss, Outcome, fail, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::once("Content-Length on every HEAD", lengths),
    Check::once("percent-encoded paths", encoded),
    Check::once("an absolute URL as the target", absolute),
    Check::once("two requests on one connection", kept),
    Check::once("requests sent before the answer to the first", pipelined),
    Check::once("HEAD does not shift what follows", after_head),
    Check::once("HTTP/1.0", old),
];

fn lengths(case: &Case) -> Outcome {
    let shape = shapes::tagged(case, "v1", 1)?;
    let blob = case.push(&case.bytes(0, 1234))?;
    let manifest = format!("manifests/{}", case.digest(&shape.bytes));
    let all = [("manifests/v1", shape.bytes.len()), (&manifest, shape.bytes.len())];
    for (below, length) in all {
        case.ask("HEAD", below)?.is(200)?.has("Content-Length", &length.to_string())?;
    }
    let below = format!("blobs/{blob}");
    case.ask("HEAD", &below)?.is(200)?.has("Content-Length", "1234")?;
    case.ask("HEAD", "manifests/none")?.is(404)?.header("Content-Length").map(|_| ())
}

fn encoded(case: &Case) -> Outcome {
    let shape = shapes::tagged(case, "v1", 1)?;
    let name = case.repository.replacen("conf", "%63onf", 1);
    let digest = case.digest(&shape.bytes);
    for path in [
        format!("/v2/{name}/manifests/v1"),
        format!("/v2/{name}/manifests/%76%31"),
        format!("/v2/{name}/manifests/{}", digest.replace(':', "%3A")),
        format!("/v2/{name}/manifests/{}", digest.replace(':', "%3a")),
    ] {
        case.call("GET", &path).send()?.is(200)?.holds(&shape.bytes)?;
    }
    Ok(())
}

fn absolute(case: &Case) -> Outcome {
    case.call("GET", &format!("http://{}/v2/", case.target.base)).send()?.is(200).map(|_| ())
}

/// Sends requests over one connection, all at once or each after the answer to the one before.
fn talk(case: &Case, requests: &[String], at_once: bool) -> Result<Vec<Answer>, Miss> {
    let run = || -> io::Result<Vec<Answer>> {
        let stream = connect(&case.target.base)?;
        let (mut to, mut from) = (&stream, BufReader::new(&stream));
        if at_once {
            to.write_all(requests.concat().as_bytes())?;
        }
        let mut all = Vec::new();
        for request in requests {
            if !at_once {
                to.write_all(request.as_bytes())?;
            }
            let method = request.split(' ').next().unwrap_or_default();
            let first = head(&mut from)?;
            all.push(read(first, &mut from, method, format!("{method} on one connection"))?);
        }
        Ok(all)
    };
    run().or_else(|e| fail(format!("one connection: {e}")))
}

fn request(case: &Case, method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", case.target.base)
}

/// Three blobs, read over one connection.
fn three(case: &Case, at_once: bool) -> Outcome {
    let blobs = [case.bytes(0, 100), case.bytes(1, 70_000), case.bytes(2, 1)];
    let mut requests = Vec::new();
    for bytes in &blobs {
        requests.push(request(case, "GET", &case.at(&format!("blobs/{}", case.push(bytes)?))));
    }
    for (answer, bytes) in talk(case, &requests, at_once)?.into_iter().zip(&blobs) {
        answer.is(200)?.holds(bytes)?;
    }
    Ok(())
}

fn kept(case: &Case) -> Outcome {
    three(case, false)
}

fn pipelined(case: &Case) -> Outcome {
    three(case, true)
}

fn after_head(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 1000);
    let path = case.at(&format!("blobs/{}", case.push(&bytes)?));
    let missing = case.at("manifests/none");
    let all = [("HEAD", &path), ("HEAD", &missing), ("GET", &missing), ("GET", &path)];
    let requests: Vec<_> = all.iter().map(|(method, path)| request(case, method, path)).collect();
    let answers = talk(case, &requests, false)?;
    let statuses: Vec<_> = answers.iter().map(Answer::status).collect();
    same("statuses", statuses, vec![200, 404, 404, 200])?;
    answers[3].holds(&bytes)
}

fn old(case: &Case) -> Outcome {
    let run = || -> io::Result<String> {
        let mut stream = connect(&case.target.base)?;
        stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        Ok(String::from_utf8_lossy(&all).into_owned())
    };
    let answer = run().or_else(|e| fail(format!("GET /v2/ HTTP/1.0: {e}")))?;
    let first = answer.lines().next().unwrap_or_default();
    holds(&format!("HTTP/1.0: {first}"), first.contains(" 200 "))?;
    holds("chunks are unknown to HTTP/1.0", !answer.to_lowercase().contains("chunked"))
}
