//! The ways a blob comes in: whole with the first request or the last, in parts, as a stream; twice,
//! at once, with a digest that is not its own. distribution-spec, Push, end-4a to end-7.

use super::{Case, Check, Miss, Outcome, fail, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("POST with the blob", post),
    Check::each("POST with the blob, other digest", post_wrong),
    Check::each("POST, PUT with the blob", put),
    Check::each("POST with digest-algorithm, PUT", announced),
    Check::each("PUT, other digest", put_wrong),
    Check::each("PUT without or with a bad digest", put_malformed),
    Check::each("PUT in HTTP chunks", put_chunked),
    Check::each("PATCH with Content-Range, PUT", parts),
    Check::each("PATCH, the last part in PUT", last_part),
    Check::each("PATCH, other digest in PUT", parts_wrong),
    Check::each("PATCH as a stream in HTTP chunks", stream),
    Check::each("PATCH without Content-Range appends", append),
    Check::each("POST with digest-algorithm, PATCH, PUT", announced_parts),
    Check::each("the empty blob", empty),
    Check::each("the blob {}", braces),
    Check::each("a blob of 6 MiB in parts", large),
    Check::each("a blob pushed twice", twice),
    Check::each("32 pushes of one blob at once", crowd),
    Check::each("PUT with Expect: 100-continue", expect_put),
    Check::each("PATCH with Expect: 100-continue", expect_patch),
    Check::once("Expect: 100-continue is not answered for nothing", expect_refused),
    Check::once("the refusal of a large body can be read", refusal),
    Check::once("an upload cancelled", cancel),
    Check::once("an unknown digest-algorithm", unknown_algorithm),
];

/// The answer to the end of an upload: 201, the blob where it says, readable at once.
fn arrived(case: &Case, answer: super::call::Answer, bytes: &[u8]) -> Outcome {
    let answer = answer.is(201)?;
    let place = case.location(&answer)?;
    case.call("GET", &place).send()?.is(200)?.holds(bytes)?;
    case.holds_blob(&case.digest(bytes), bytes)
}

/// The answer to a digest that is not the blob's: 400, and the blob is there by no name.
fn rejected(case: &Case, answer: super::call::Answer, wrong: &str, bytes: &[u8]) -> Outcome {
    answer.refused(&[400], &["DIGEST_INVALID"])?;
    case.lacks_blob(wrong)?;
    case.lacks_blob(&case.digest(bytes))
}

/// Bytes and a digest that is not theirs.
fn mismatch(case: &Case) -> (Vec<u8>, String) {
    (case.bytes(0, 2000), case.digest(&case.bytes(1, 2000)))
}

fn post_to<'a>(case: &'a Case, digest: &str) -> super::call::Call<'a> {
    let target = case.at(&format!("blobs/uploads/?digest={digest}"));
    case.call("POST", &target).header("Content-Type", super::call::OCTETS)
}

fn post(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let answer = post_to(case, &case.digest(&bytes)).body(&bytes).send()?;
    arrived(case, answer, &bytes)
}

fn post_wrong(case: &Case) -> Outcome {
    let (bytes, wrong) = mismatch(case);
    let answer = post_to(case, &wrong).body(&bytes).send()?;
    rejected(case, answer, &wrong, &bytes)
}

fn put(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let answer = case.close(&case.begin()?, &case.digest(&bytes)).body(&bytes).send()?;
    arrived(case, answer, &bytes)
}

/// Begins an upload whose algorithm is told beforehand.
fn begin_announced(case: &Case) -> Result<String, Miss> {
    let below = format!("blobs/uploads/?digest-algorithm={}", case.algorithm.name());
    case.location(&case.ask("POST", &below)?.is(202)?)
}

fn announced(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let answer = case.close(&begin_announced(case)?, &case.digest(&bytes)).body(&bytes).send()?;
    arrived(case, answer, &bytes)
}

fn put_wrong(case: &Case) -> Outcome {
    let (bytes, wrong) = mismatch(case);
    let answer = case.close(&case.begin()?, &wrong).body(&bytes).send()?;
    rejected(case, answer, &wrong, &bytes)
}

fn put_malformed(case: &Case) -> Outcome {
    let name = case.algorithm.name();
    let hex = case.digest(b"x");
    let upper = hex.to_uppercase().replace("SHA", "sha");
    let bad =
        ["", "x", &format!("{name}:"), &format!("{name}:abc"), "md5:9dd4e461268c8034", &upper];
    for digest in bad {
        let answer = case.close(&case.begin()?, digest).body(b"x").send()?;
        answer.refused(&[400], &["DIGEST_INVALID", "UNSUPPORTED"])?;
    }
    case.call("PUT", &case.begin()?).body(b"x").send()?.refused(&[400], &["DIGEST_INVALID"])?;
    case.lacks_blob(&hex)
}

fn put_chunked(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 70_000);
    let answer = case.close(&case.begin()?, &case.digest(&bytes)).chunks(&bytes).send()?;
    arrived(case, answer, &bytes)
}

/// Sends bytes in parts of a size, each with its place; says where the upload goes on.
pub fn send_parts(case: &Case, at: String, bytes: &[u8], size: usize) -> Result<String, Miss> {
    let mut location = at;
    for (number, part) in bytes.chunks(size).enumerate() {
        let answer = case.chunk(&location, number * size, part).send()?.is(202)?;
        let end = number * size + part.len() - 1;
        answer.has("Range", &format!("0-{end}"))?;
        location = case.location(&answer)?;
    }
    Ok(location)
}

fn parts(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 5000);
    let location = send_parts(case, case.begin()?, &bytes, 2000)?;
    arrived(case, case.close(&location, &case.digest(&bytes)).send()?, &bytes)
}

fn last_part(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 5000);
    let location = send_parts(case, case.begin()?, &bytes[..4000], 2000)?;
    let last = case.close(&location, &case.digest(&bytes)).header("Content-Range", "4000-4999");
    arrived(case, last.body(&bytes[4000..]).send()?, &bytes)
}

fn parts_wrong(case: &Case) -> Outcome {
    let (bytes, wrong) = mismatch(case);
    let location = send_parts(case, case.begin()?, &bytes, 1000)?;
    rejected(case, case.close(&location, &wrong).send()?, &wrong, &bytes)
}

fn stream(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 70_000);
    let answer = case.patch(&case.begin()?).chunks(&bytes).send()?.is(202)?;
    answer.has("Range", "0-69999")?;
    let end = case.close(&case.location(&answer)?, &case.digest(&bytes)).send()?;
    arrived(case, end, &bytes)
}

fn append(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 3000);
    let first = case.patch(&case.begin()?).body(&bytes[..2000]).send()?.is(202)?;
    let second = case.patch(&case.location(&first)?).body(&bytes[2000..]).send()?.is(202)?;
    second.has("Range", "0-2999")?;
    let end = case.close(&case.location(&second)?, &case.digest(&bytes)).send()?;
    arrived(case, end, &bytes)
}

fn announced_parts(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 5000);
    let location = send_parts(case, begin_announced(case)?, &bytes, 2000)?;
    arrived(case, case.close(&location, &case.digest(&bytes)).send()?, &bytes)
}

fn empty(case: &Case) -> Outcome {
    arrived(case, case.close(&case.begin()?, &case.digest(b"")).send()?, b"")?;
    let head = case.ask("HEAD", &format!("blobs/{}", case.digest(b"")))?.is(200)?;
    head.has("Content-Length", "0")
}

fn braces(case: &Case) -> Outcome {
    arrived(case, case.close(&case.begin()?, &case.digest(b"{}")).body(b"{}").send()?, b"{}")
}

fn large(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 6 << 20);
    let location = send_parts(case, case.begin()?, &bytes, 5 << 20)?;
    arrived(case, case.close(&location, &case.digest(&bytes)).send()?, &bytes)
}

fn twice(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    case.push(&bytes)?;
    case.push(&bytes)?;
    case.beside(&format!("{}/other", case.repository)).push(&bytes)?;
    case.holds_blob(&case.digest(&bytes), &bytes)
}

fn crowd(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 300_000);
    let all: Vec<Result<String, Miss>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| case.push(&bytes))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let lost: Vec<_> = all.into_iter().filter_map(Result::err).collect();
    match lost.first() {
        Some(Miss::Fail(why)) => fail(format!("{} of 32 pushes: {why}", lost.len())),
        Some(other) => Err(other.clone()),
        None => case.holds_blob(&case.digest(&bytes), &bytes),
    }
}

fn expect_put(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 70_000);
    let call = case.close(&case.begin()?, &case.digest(&bytes)).header("Expect", "100-continue");
    let answer = call.body(&bytes).send()?;
    same("100 Continue", answer.asked, true)?;
    arrived(case, answer, &bytes)
}

fn expect_patch(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 70_000);
    let call = case.patch(&case.begin()?).header("Expect", "100-continue");
    let answer = call.body(&bytes).send()?.is(202)?;
    same("100 Continue", answer.asked, true)?;
    arrived(case, case.close(&case.location(&answer)?, &case.digest(&bytes)).send()?, &bytes)
}

fn expect_refused(case: &Case) -> Outcome {
    case.begin()?;
    let place = case.at("blobs/uploads/00000000-0000-4000-8000-000000000000");
    case.patch(&place).unread(70_000)?.is(404).map(|_| ())
}

fn refusal(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 512 << 10);
    case.begin()?;
    let place = case.at("blobs/uploads/00000000-0000-4000-8000-000000000000");
    case.patch(&place).body(&bytes).send()?.is(404).map(|_| ())
}

fn cancel(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let location = send_parts(case, case.begin()?, &bytes, 1000)?;
    case.call("DELETE", &location).send()?.is(204)?;
    let unknown = ["BLOB_UPLOAD_UNKNOWN"];
    case.call("GET", &location).send()?.refused(&[404], &unknown)?;
    case.close(&location, &case.digest(&bytes)).send()?.refused(&[404], &unknown)?;
    case.lacks_blob(&case.digest(&bytes))
}

fn unknown_algorithm(case: &Case) -> Outcome {
    let answer = case.ask("POST", "blobs/uploads/?digest-algorithm=md5")?;
    answer.refused(&[400], &["DIGEST_INVALID", "UNSUPPORTED"]).map(|_| ())
}
