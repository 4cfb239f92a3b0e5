//! Where the next part of an upload belongs: out of order, twice, at once, and what the status says.
//! distribution-spec, Pushing a blob in chunks; end-13.

use std::io::{BufReader, Write};

use super::call::{Answer, connect, head, read};
use super::uploads::send_parts;
use super::{Case, Check, Miss, Outcome, fail, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::once("the status of an upload", status),
    Check::once("the status of an empty upload", status_empty),
    Check::each("PATCH out of order", patch_ahead),
    Check::each("PATCH of a part that is there", patch_again),
    Check::each("PUT out of order", put_ahead),
    Check::once("PATCH with another length than its Content-Range", patch_length),
    Check::once("PATCH with a bad Content-Range", patch_malformed),
    Check::each("two PATCHes at once", race),
];

/// The status says how far an upload is.
fn stands(case: &Case, location: &str, range: &str) -> Result<String, Miss> {
    let answer = case.call("GET", location).send()?.is(204)?;
    answer.has("Range", range)?;
    case.location(&answer)
}

fn status(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let location = send_parts(case, case.begin()?, &bytes[..2000], 1000)?;
    let location = stands(case, &location, "0-1999")?;
    let rest = case.chunk(&location, 2000, &bytes[2000..]).send()?.is(202)?;
    case.close(&case.location(&rest)?, &case.digest(&bytes)).send()?.is(201).map(|_| ())
}

fn status_empty(case: &Case) -> Outcome {
    stands(case, &case.begin()?, "0-0").map(|_| ())
}

/// After a refusal the upload is where it was, and goes on from there.
fn goes_on(case: &Case, location: &str, bytes: &[u8], from: usize) -> Outcome {
    let location = stands(case, location, &format!("0-{}", from - 1))?;
    let rest = case.chunk(&location, from, &bytes[from..]).send()?.is(202)?;
    let digest = case.digest(bytes);
    case.close(&case.location(&rest)?, &digest).send()?.is(201)?;
    case.holds_blob(&digest, bytes)
}

fn patch_ahead(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let location = send_parts(case, case.begin()?, &bytes[..1000], 1000)?;
    case.chunk(&location, 2000, &bytes[2000..]).send()?.is(416)?;
    goes_on(case, &location, &bytes, 1000)
}

fn patch_again(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let location = send_parts(case, case.begin()?, &bytes[..1000], 1000)?;
    case.chunk(&location, 0, &bytes[..1000]).send()?.is(416)?;
    goes_on(case, &location, &bytes, 1000)
}

fn put_ahead(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let location = send_parts(case, case.begin()?, &bytes[..1000], 1000)?;
    let call = case.close(&location, &case.digest(&bytes)).header("Content-Range", "2000-2999");
    call.body(&bytes[2000..]).send()?.is(416)?;
    goes_on(case, &location, &bytes, 1000)
}

fn patch_length(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 1000);
    for range in ["0-1999", "0-499"] {
        let call = case.patch(&case.begin()?).header("Content-Range", range).body(&bytes);
        call.send()?
            .refused(&[400, 416], &["SIZE_INVALID", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"])?;
    }
    Ok(())
}

fn patch_malformed(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 1000);
    let huge = "99999999999999999999-99999999999999999999";
    for range in ["x", "0", "-", "0-", "-999", "999-0", "0--1", huge, "18446744073709551615-0"] {
        let call = case.patch(&case.begin()?).header("Content-Range", range).body(&bytes);
        call.send()?.one_of(&[400, 416])?;
    }
    Ok(())
}

/// Two parts for the same place, interleaved: one is taken, the other refused, none mixed in.
fn race(case: &Case) -> Outcome {
    let location = case.begin()?;
    let rivals = [case.bytes(0, 40_000), case.bytes(1, 40_000)];
    let answers = interleave(case, &location, &rivals).or_else(|e| fail(format!("PATCH: {e}")))?;
    let taken: Vec<_> = answers.iter().map(|answer| answer.status() == 202).collect();
    let statuses: Vec<_> = answers.iter().map(Answer::status).collect();
    same(&format!("PATCHes taken, of {statuses:?}"), taken.iter().filter(|t| **t).count(), 1)?;
    let winner = usize::from(taken[1]);
    answers[1 - winner].clone().one_of(&[400, 409, 416])?;
    let location = stands(case, &case.location(&answers[winner])?, "0-39999")?;
    let digest = case.digest(&rivals[winner]);
    case.close(&location, &digest).send()?.is(201)?;
    case.holds_blob(&digest, &rivals[winner])
}

fn interleave(case: &Case, location: &str, rivals: &[Vec<u8>; 2]) -> std::io::Result<Vec<Answer>> {
    let base = &case.target.base;
    let streams = [connect(base)?, connect(base)?];
    let words = format!(
        "PATCH {location} HTTP/1.1\r\nHost: {base}\r\nContent-Length: 40000\r\n\
         Content-Type: application/octet-stream\r\nContent-Range: 0-39999\r\n\r\n"
    );
    for (mut stream, bytes) in streams.iter().zip(rivals) {
        stream.write_all(words.as_bytes())?;
        stream.write_all(&bytes[..20_000])?;
    }
    for (mut stream, bytes) in streams.iter().zip(rivals) {
        // One that was refused may have been closed by now.
        let _ = stream.write_all(&bytes[20_000..]);
    }
    let answer = |stream| {
        let mut from = BufReader::new(stream);
        let first = head(&mut from)?;
        read(first, &mut from, "PATCH", "PATCH at once with another".to_owned())
    };
    streams.iter().map(answer).collect()
}
