//! What the next distribution-spec adds: tags of a push by digest, digests on every answer, sparse
//! indexes. (Cancelled uploads are in `uploads`.)

use serde_json::json;

use super::manifests::reads;
use super::shapes::{self, INDEX, MANIFEST, Shape};
use super::{Case, Check, Outcome, holds};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("?tag= on a push by digest", tag_parameters),
    Check::each("?tag= that is no tag", bad_tag_parameter),
    Check::each("digests on every answer about a blob", blob_digests),
    Check::each("digests on every answer about a manifest", manifest_digests),
    Check::each("an index whose images are not there", sparse_index),
];

fn tag_parameters(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    let digest = case.digest(&shape.bytes);
    let answer = case.put(&format!("{digest}?tag=one&tag=two"), &shape.media_type, &shape.bytes)?;
    let answer = answer.is(201)?;
    let all: Vec<&str> =
        answer.head.all("OCI-Tag").iter().flat_map(|line| line.split(',')).map(str::trim).collect();
    holds(&format!("OCI-Tag: {all:?}"), all == ["one", "two"] || all == ["two", "one"])?;
    for tag in ["one", "two"] {
        reads(case, tag, &digest, &shape)?;
    }
    let tags = case.ask("GET", "tags/list")?.is(200)?;
    super::same("tags", tags.json()["tags"].clone(), json!(["one", "two"]))
}

fn bad_tag_parameter(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    shapes::put(case, &shape)?;
    let digest = case.digest(&shape.bytes);
    let answer = case.put(&format!("{digest}?tag=-x"), &shape.media_type, &shape.bytes)?;
    answer.one_of(&[400]).map(|_| ())
}

fn blob_digests(case: &Case) -> Outcome {
    let bytes = case.bytes(0, 2000);
    let digest = case.digest(&bytes);
    let name = "Docker-Content-Digest";
    let put = case.close(&case.begin()?, &digest).body(&bytes).send()?.is(201)?;
    put.has(name, &digest)?;
    let path = case.at(&format!("blobs/{digest}"));
    for method in ["GET", "HEAD"] {
        case.call(method, &path).send()?.is(200)?.has(name, &digest)?;
    }
    let part = case.call("GET", &path).header("Range", "bytes=5-9").send()?.is(206)?;
    part.has(name, &digest)
}

fn manifest_digests(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    let digest = case.digest(&shape.bytes);
    let name = "Docker-Content-Digest";
    case.put(&digest, &shape.media_type, &shape.bytes)?.is(201)?.has(name, &digest)?;
    for method in ["GET", "HEAD"] {
        case.ask(method, &format!("manifests/{digest}"))?.is(200)?.has(name, &digest)?;
    }
    Ok(())
}

fn sparse_index(case: &Case) -> Outcome {
    let here = shapes::put(case, &Shape::of(&shapes::image(case, 1)?))?;
    let absent = shapes::descriptor(case, MANIFEST, &case.bytes(60, 500));
    let shape =
        Shape::of(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [here, absent]}));
    let digest = case.digest(&shape.bytes);
    case.put(&digest, &shape.media_type, &shape.bytes)?.is(201)?;
    reads(case, &digest, &digest, &shape)
}
