//! Parts of a blob. RFC 9110 section 14; distribution-spec, Pulling blobs.

use super::call::Answer;
use super::{Case, Check, Miss, Outcome, fail, holds};

const SIZE: usize = 3000;

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("500-1499", middle),
    Check::each("500- to the end", tail),
    Check::each("-500, the last bytes", last),
    Check::each("the first byte alone", first),
    Check::each("2000-5000 is cut at the end", clamped),
    Check::each("-5000 is the whole blob", all),
    Check::each("5000-10000 is 416", beyond),
    Check::each("500-0 is 416", backwards),
    Check::once("of an empty blob", of_nothing),
    Check::once("several ranges", several),
    Check::once("a thousand ranges are not a thousand blobs", thousand),
    Check::once("no range at all", malformed),
];

fn part(case: &Case, range: &str) -> Result<(Answer, Vec<u8>), Miss> {
    let bytes = case.bytes(0, SIZE);
    let path = case.at(&format!("blobs/{}", case.push(&bytes)?));
    Ok((case.call("GET", &path).header("Range", format!("bytes={range}")).send()?, bytes))
}

fn is_part(case: &Case, range: &str, start: usize, end: usize) -> Outcome {
    let (answer, bytes) = part(case, range)?;
    let answer = answer.is(206)?;
    answer.has("Content-Range", &format!("bytes {start}-{end}/{SIZE}"))?;
    answer.holds(&bytes[start..=end])
}

fn is_none(case: &Case, range: &str) -> Outcome {
    part(case, range)?.0.is(416)?.has("Content-Range", &format!("bytes */{SIZE}"))
}

fn middle(case: &Case) -> Outcome {
    is_part(case, "500-1499", 500, 1499)
}

fn tail(case: &Case) -> Outcome {
    is_part(case, "500-", 500, SIZE - 1)
}

fn last(case: &Case) -> Outcome {
    is_part(case, "-500", SIZE - 500, SIZE - 1)
}

fn first(case: &Case) -> Outcome {
    is_part(case, "0-0", 0, 0)
}

fn clamped(case: &Case) -> Outcome {
    is_part(case, "2000-5000", 2000, SIZE - 1)
}

fn all(case: &Case) -> Outcome {
    is_part(case, "-5000", 0, SIZE - 1)
}

fn beyond(case: &Case) -> Outcome {
    is_none(case, "5000-10000")
}

fn backwards(case: &Case) -> Outcome {
    is_none(case, "500-0")
}

fn of_nothing(case: &Case) -> Outcome {
    let path = case.at(&format!("blobs/{}", case.push(b"")?));
    for range in ["bytes=0-", "bytes=-1"] {
        let answer = case.call("GET", &path).header("Range", range).send()?.one_of(&[200, 416])?;
        if answer.status() == 416 {
            answer.has("Content-Range", "bytes */0")?;
        }
    }
    Ok(())
}

fn several(case: &Case) -> Outcome {
    let (answer, bytes) = part(case, "0-1,5-6")?;
    let answer = answer.one_of(&[200, 206])?;
    let media = answer.header("Content-Type")?.to_owned();
    if answer.status() == 200 {
        answer.holds(&bytes)
    } else if media.starts_with("multipart/byteranges") {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let both = text.contains("bytes 0-1/3000") && text.contains("bytes 5-6/3000");
        holds("both ranges in the parts", both)
    } else {
        // One range that covers both, or the first alone.
        match answer.header("Content-Range")? {
            "bytes 0-6/3000" => answer.holds(&bytes[..7]),
            "bytes 0-1/3000" => answer.holds(&bytes[..2]),
            other => fail(format!("Content-Range: {other}")),
        }
    }
}

fn thousand(case: &Case) -> Outcome {
    let ranges = vec!["0-"; 1000].join(",");
    let (answer, _) = part(case, &ranges)?;
    let answer = answer.one_of(&[200, 206, 400, 416, 431])?;
    let length = answer.body.len();
    holds(&format!("{length} bytes for a blob of {SIZE}"), length <= 2 * SIZE)
}

fn malformed(case: &Case) -> Outcome {
    let bytes = case.bytes(0, SIZE);
    let path = case.at(&format!("blobs/{}", case.push(&bytes)?));
    let bad = ["bytes=a-b", "bytes=", "bytes=-", "bytes=--1", "0-1", "bytes=99999999999999999999-"];
    for range in bad {
        case.call("GET", &path).header("Range", range).send()?.one_of(&[200, 400, 416])?;
    }
    // A unit that is not known is no range (RFC 9110, 14.2).
    case.call("GET", &path).header("Range", "items=0-1").send()?.is(200)?.holds(&bytes)
}
