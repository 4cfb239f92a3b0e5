//! Manifests and indexes: pushed and read by tag and digest, every byte as it came.
//! distribution-spec, Pushing and Pulling manifests, end-3 and end-7.

use serde_json::{Value, json};

use super::shapes::{self, CONFIG, DOCKER, DOCKER_LIST, INDEX, LAYER, MANIFEST, Shape};
use super::{Algorithm, Case, Check, Miss, Outcome, holds};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("an image", |case| travels(case, &shapes::image(case, 1)?)),
    Check::each("uncompressed layers", |case| {
        travels(case, &shapes::image_of(case, 1, &["application/vnd.oci.image.layer.v1.tar"; 2])?)
    }),
    Check::each("zstd layers", |case| {
        travels(case, &shapes::image_of(case, 1, &["application/vnd.oci.image.layer.v1.tar+zstd"])?)
    }),
    Check::each("no layers", |case| travels(case, &shapes::image_of(case, 1, &[])?)),
    Check::each("fields of one's own", |case| travels(case, &own_fields(case)?)),
    Check::each("bytes that no writer would make", odd_bytes),
    Check::each("a data field", |case| travels(case, &data(case)?)),
    Check::each("an artifact", |case| travels(case, &shapes::artifact(case, "application/x", 1)?)),
    Check::each("an artifact without layers", |case| {
        travels(case, &shapes::artifact(case, "application/x", 0)?)
    }),
    Check::each("a config of one's own", |case| travels(case, &own_config(case)?)),
    Check::each("layers at foreign URLs", |case| travels(case, &foreign(case)?)),
    Check::each("a docker image", |case| travels(case, &shapes::docker(case, 1)?)),
    Check::each("a docker list", |case| {
        travels(case, &shapes::index(case, 1, DOCKER, DOCKER_LIST)?)
    }),
    Check::each("an index", |case| travels(case, &shapes::index(case, 1, MANIFEST, INDEX)?)),
    Check::each("an index in an index", |case| travels(case, &nested(case)?)),
    Check::each("an index of nothing", |case| travels(case, &empty_index())),
    Check::each("an index that is an artifact", |case| travels(case, &artifact_index(case)?)),
    Check::each("a manifest of 3.9 MB", |case| same_bytes(case, &shapes::grown(case, 3_900_000)?)),
    Check::each("a manifest of 4 MiB", |case| same_bytes(case, &shapes::grown(case, 4 << 20)?)),
    Check::once("a manifest of 100 MB announced", far_too_large),
    Check::once("a manifest in HTTP chunks", chunked),
    Check::once("Content-Type with a parameter", parameter),
    Check::once("Accept of another type", other_accept),
    Check::each("ETag and If-None-Match", etag),
    Check::each("GET and HEAD of an unknown digest", unknown),
    Check::each("PUT to another digest", wrong_digest),
    Check::once("bad digests", bad_digests),
    Check::once("no manifest at all", garbage),
    Check::once("layers that are not there", missing_layer),
    Check::once("a tag moves at once", moves),
    Check::once("the same manifest again", again),
];

/// Pushed and read in every way: by digest, and by tag where the digest is the usual one.
fn travels(case: &Case, json: &Value) -> Outcome {
    same_bytes(case, &Shape::of(json))
}

fn same_bytes(case: &Case, shape: &Shape) -> Outcome {
    let digest = case.digest(&shape.bytes);
    arrives(case, &digest, &digest, shape)?;
    if case.algorithm == Algorithm::Sha256 {
        arrives(case, "v1", &digest, shape)?;
        reads(case, &digest, &digest, shape)?;
    }
    Ok(())
}

fn arrives(case: &Case, reference: &str, digest: &str, shape: &Shape) -> Outcome {
    let answer = case.put(reference, &shape.media_type, &shape.bytes)?.is(201)?;
    answer.has("Docker-Content-Digest", digest)?;
    let place = case.location(&answer)?;
    let accept = case.call("GET", &place).header("Accept", &shape.media_type);
    accept.send()?.is(200)?.holds(&shape.bytes)?;
    reads(case, reference, digest, shape)
}

/// GET and HEAD: bytes, media type, length, digest.
pub fn reads(case: &Case, reference: &str, digest: &str, shape: &Shape) -> Outcome {
    for method in ["GET", "HEAD"] {
        let path = case.at(&format!("manifests/{reference}"));
        let answer =
            case.call(method, &path).header("Accept", &shape.media_type).send()?.is(200)?;
        answer.has("Content-Type", &shape.media_type)?;
        answer.has("Content-Length", &shape.bytes.len().to_string())?;
        answer.has("Docker-Content-Digest", digest)?;
        if method == "GET" {
            answer.holds(&shape.bytes)?;
        }
    }
    Ok(())
}

fn own_fields(case: &Case) -> Result<Value, Miss> {
    let mut json = shapes::image(case, 1)?;
    json["org.example.own"] = json!({"deep": [1, 2.5, null, "ä\u{1f600}"]});
    json["config"]["own"] = json!(true);
    json["annotations"] = json!({"org.example/key": "value"});
    Ok(json)
}

/// Order, blanks and escapes that are lost when a document is written anew.
fn odd_bytes(case: &Case) -> Outcome {
    let json = shapes::image(case, 1)?;
    let text = format!(
        "\n\t{{ \"layers\":{} ,\r\n\"config\" : {},\"annotations\":{{\"\\u0061\":\"\\/ <&>\"}},\
         \"mediaType\":\"{MANIFEST}\",\"schemaVersion\":2}}\n\n",
        json["layers"], json["config"],
    );
    same_bytes(case, &Shape { media_type: MANIFEST.to_owned(), bytes: text.into_bytes() })
}

fn data(case: &Case) -> Result<Value, Miss> {
    let mut json = shapes::artifact(case, "application/x", 1)?;
    json["config"]["data"] = json!("e30=");
    Ok(json)
}

fn own_config(case: &Case) -> Result<Value, Miss> {
    let mut json = shapes::image(case, 1)?;
    json["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    Ok(json)
}

/// The layer is elsewhere on purpose and was never pushed.
fn foreign(case: &Case) -> Result<Value, Miss> {
    let mut json = shapes::image(case, 1)?;
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let mut layer = shapes::descriptor(case, kind, &case.bytes(77, 100));
    layer["urls"] = json!(["https://layers.example.com/base"]);
    json["layers"].as_array_mut().expect("a list").insert(0, layer);
    Ok(json)
}

fn nested(case: &Case) -> Result<Value, Miss> {
    let inner = shapes::put(case, &Shape::of(&shapes::index(case, 1, MANIFEST, INDEX)?))?;
    Ok(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}))
}

fn empty_index() -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
}

fn artifact_index(case: &Case) -> Result<Value, Miss> {
    let mut json = shapes::index(case, 1, MANIFEST, INDEX)?;
    json["artifactType"] = json!("application/vnd.example.index");
    Ok(json)
}

/// Refused for what its head says, before a byte of it is asked for.
fn far_too_large(case: &Case) -> Outcome {
    case.push(b"known")?;
    let target = case.at("manifests/v1");
    let call = case.call("PUT", &target).header("Content-Type", MANIFEST);
    let answer = call.unread(100_000_000)?.one_of(&[400, 413])?;
    answer.error(&["MANIFEST_INVALID", "SIZE_INVALID"])
}

fn chunked(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    let target = case.at("manifests/v1");
    let call = case.call("PUT", &target).header("Content-Type", MANIFEST);
    call.chunks(&shape.bytes).send()?.is(201)?;
    reads(case, "v1", &case.digest(&shape.bytes), &shape)
}

fn parameter(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    case.put("v1", &format!("{MANIFEST}; charset=utf-8"), &shape.bytes)?.is(201)?;
    reads(case, "v1", &case.digest(&shape.bytes), &shape)
}

/// What is stored is served, whatever is asked for.
fn other_accept(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::index(case, 1, MANIFEST, INDEX)?);
    case.put("v1", &shape.media_type, &shape.bytes)?.is(201)?;
    for accept in [None, Some("*/*"), Some("application/json"), Some(DOCKER)] {
        let mut call = case.call("GET", &case.at("manifests/v1")).without("Accept");
        if let Some(accept) = accept {
            call = call.header("Accept", accept);
        }
        let answer = call.send()?.is(200)?;
        answer.has("Content-Type", INDEX)?;
        answer.holds(&shape.bytes)?;
    }
    Ok(())
}

fn etag(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    shapes::put(case, &shape)?;
    super::blobs::same_tag(case, &format!("manifests/{}", case.digest(&shape.bytes)), &shape.bytes)
}

fn unknown(case: &Case) -> Outcome {
    case.push(b"known")?;
    let below = format!("manifests/{}", case.digest(&case.bytes(0, 10)));
    case.ask("HEAD", &below)?.is(404)?;
    case.ask("GET", &below)?.refused(&[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]).map(|_| ())
}

fn wrong_digest(case: &Case) -> Outcome {
    let shape = Shape::of(&shapes::image(case, 1)?);
    shapes::put(case, &Shape::of(&shapes::image(case, 2)?))?;
    let wrong = case.digest(&case.bytes(5, 10));
    let answer = case.put(&wrong, &shape.media_type, &shape.bytes)?;
    answer.refused(&[400], &["DIGEST_INVALID", "MANIFEST_INVALID"])?;
    for digest in [wrong, case.digest(&shape.bytes)] {
        case.ask("GET", &format!("manifests/{digest}"))?.is(404)?;
    }
    Ok(())
}

fn bad_digests(case: &Case) -> Outcome {
    let shape = shapes::tagged(case, "v1", 1)?;
    for digest in ["sha256:baddigeststring", "sha256:", "md5:9dd4e461268c8034f5c8564e155c67a6"] {
        let below = format!("manifests/{digest}");
        case.put(digest, &shape.media_type, &shape.bytes)?.one_of(&[400])?;
        for method in ["GET", "HEAD"] {
            case.ask(method, &below)?.one_of(&[400, 404])?;
        }
    }
    Ok(())
}

fn garbage(case: &Case) -> Outcome {
    case.push(b"known")?;
    let deep = "[".repeat(200_000);
    let all = ["", "x", "[]", "null", "{\"schemaVersion\":2", "{\"layers\":7}", "\u{0}", &deep];
    for text in all {
        let answer = case.put("v1", MANIFEST, text.as_bytes())?;
        answer.refused(&[400], &["MANIFEST_INVALID"])?;
    }
    case.ask("GET", "manifests/v1")?.is(404).map(|_| ())
}

fn missing_layer(case: &Case) -> Outcome {
    let mut json = shapes::image(case, 1)?;
    json["layers"] = json!([shapes::descriptor(case, LAYER, &case.bytes(50, 100))]);
    let shape = Shape::of(&json);
    let answer = case.put("v1", &shape.media_type, &shape.bytes)?;
    if case.target.flags.sparse {
        answer.is(201)?;
        return reads(case, "v1", &case.digest(&shape.bytes), &shape);
    }
    answer.refused(&[400, 404], &["MANIFEST_BLOB_UNKNOWN"])?;
    json = shapes::image(case, 1)?;
    json["config"] = shapes::descriptor(case, CONFIG, &case.bytes(51, 100));
    let shape = Shape::of(&json);
    let answer = case.put("v1", &shape.media_type, &shape.bytes)?;
    answer.refused(&[400, 404], &["MANIFEST_BLOB_UNKNOWN"])?;
    case.ask("GET", "manifests/v1")?.is(404).map(|_| ())
}

fn moves(case: &Case) -> Outcome {
    let old = shapes::tagged(case, "v1", 1)?;
    let new = shapes::tagged(case, "v1", 2)?;
    reads(case, "v1", &case.digest(&new.bytes), &new)?;
    let digest = case.digest(&old.bytes);
    reads(case, &digest, &digest, &old)
}

fn again(case: &Case) -> Outcome {
    let shape = shapes::tagged(case, "v1", 1)?;
    let again = shapes::tagged(case, "v1", 1)?;
    holds("the same bytes", shape.bytes == again.bytes)?;
    reads(case, "v1", &case.digest(&shape.bytes), &shape)
}
