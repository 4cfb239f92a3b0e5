//! Manifests that are about another one. distribution-spec, Listing Referrers, end-12.

use serde_json::{Value, json};

use super::discovery::empty_index;
use super::shapes::{self, CONFIG, INDEX, MANIFEST, Shape, about};
use super::{Case, Check, Miss, Outcome, fail, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::each("OCI-Subject by tag and by digest", subject_header),
    Check::each("a subject that is not there", missing_subject),
    Check::each("of a manifest that has none", none),
    Check::each("artifacts, images and indexes", list),
    Check::each("only those of one artifactType", filter),
    Check::each("of an artifactType that none has", filter_none),
    // Under a tag it has its sha256, and is another manifest than the one with a sha512.
    Check::once("a referrer under two tags is one", no_extras),
    Check::each("a deleted referrer", deleted).deletes(),
    Check::once("60 referrers of one subject", many),
    Check::once("of a bad digest", malformed),
];

const KIND: &str = "application/vnd.example.sbom";

/// The subject of a check: its descriptor, pushed.
fn subject(case: &Case) -> Result<Value, Miss> {
    shapes::put(case, &Shape::of(&shapes::image(case, 1)?))
}

fn digest_of(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap_or_default()
}

/// Every entry of the list of a subject's referrers, page by page.
fn listed(case: &Case, subject: &Value, query: &str) -> Result<Vec<Value>, Miss> {
    let mut next = Some(case.at(&format!("referrers/{}{query}", digest_of(subject))));
    let mut all = Vec::new();
    for _ in 0..100 {
        let Some(path) = next else { return Ok(all) };
        let answer = case.call("GET", &path).send()?.is(200)?;
        answer.has("Content-Type", INDEX)?;
        same("mediaType", answer.json()["mediaType"].as_str(), Some(INDEX))?;
        match answer.json()["manifests"].as_array() {
            Some(page) => all.extend_from_slice(page),
            None => return fail("manifests is no list"),
        }
        next = super::tags::next(&answer)?;
    }
    fail("a hundred pages without an end")
}

/// Pushes a referrer and says the descriptor that its list must have.
fn refer(case: &Case, json: &Value, kind: Option<&str>) -> Result<Value, Miss> {
    let mut entry = shapes::put(case, &Shape::of(json))?;
    if let Some(kind) = kind {
        entry["artifactType"] = json!(kind);
    }
    if let Some(annotations) = json.get("annotations") {
        entry["annotations"] = annotations.clone();
    }
    Ok(entry)
}

/// The list is these entries, in any order.
fn are(mut got: Vec<Value>, mut wanted: Vec<Value>) -> Outcome {
    got.sort_by_key(|entry| digest_of(entry).to_owned());
    wanted.sort_by_key(|entry| digest_of(entry).to_owned());
    same("referrers", got.len(), wanted.len())?;
    got.into_iter().zip(wanted).try_for_each(|(got, wanted)| same("an entry", got, wanted))
}

fn subject_header(case: &Case) -> Outcome {
    let subject = subject(case)?;
    let shape = Shape::of(&about(shapes::artifact(case, KIND, 1)?, &subject));
    for reference in ["about".to_owned(), case.digest(&shape.bytes)] {
        let answer = case.put(&reference, &shape.media_type, &shape.bytes)?.is(201)?;
        answer.has("OCI-Subject", digest_of(&subject))?;
    }
    // What has no subject says so.
    shapes::put(case, &Shape::of(&shapes::image(case, 3)?))?;
    let plain = Shape::of(&shapes::image(case, 3)?);
    case.put("plain", &plain.media_type, &plain.bytes)?.is(201)?.lacks("OCI-Subject")
}

fn missing_subject(case: &Case) -> Outcome {
    let subject = shapes::descriptor(case, MANIFEST, &case.bytes(40, 100));
    let json = about(shapes::artifact(case, KIND, 1)?, &subject);
    let entry = refer(case, &json, Some(KIND))?;
    are(listed(case, &subject, "")?, vec![entry])
}

fn none(case: &Case) -> Outcome {
    let subject = subject(case)?;
    empty_index(case.ask("GET", &format!("referrers/{}", digest_of(&subject)))?)
}

/// An artifact, an image, an index and an index that is an artifact, all about one subject.
fn four(case: &Case, subject: &Value) -> Result<Vec<Value>, Miss> {
    let mut artifact = about(shapes::artifact(case, KIND, 1)?, subject);
    artifact["annotations"] = json!({"org.example.key": "a \"value\""});
    let image = about(shapes::image(case, 5)?, subject);
    let index = about(shapes::index(case, 6, MANIFEST, INDEX)?, subject);
    let mut own = about(shapes::index(case, 7, MANIFEST, INDEX)?, subject);
    own["artifactType"] = json!("application/vnd.example.index");
    Ok(vec![
        refer(case, &artifact, Some(KIND))?,
        refer(case, &image, Some(CONFIG))?,
        refer(case, &index, None)?,
        refer(case, &own, Some("application/vnd.example.index"))?,
    ])
}

fn list(case: &Case) -> Outcome {
    let subject = subject(case)?;
    let wanted = four(case, &subject)?;
    are(listed(case, &subject, "")?, wanted)
}

fn filter(case: &Case) -> Outcome {
    let subject = subject(case)?;
    let four = four(case, &subject)?;
    let query = format!("?artifactType={KIND}");
    let below = format!("referrers/{}{query}", digest_of(&subject));
    case.ask("GET", &below)?.is(200)?.has("OCI-Filters-Applied", "artifactType")?;
    are(listed(case, &subject, &query)?, vec![four[0].clone()])?;
    let image = listed(case, &subject, &format!("?artifactType={}", CONFIG.replace('+', "%2B")))?;
    are(image, vec![four[1].clone()])
}

fn filter_none(case: &Case) -> Outcome {
    let subject = subject(case)?;
    four(case, &subject)?;
    let below = format!("referrers/{}?artifactType=application/none", digest_of(&subject));
    empty_index(case.ask("GET", &below)?)
}

fn no_extras(case: &Case) -> Outcome {
    let subject = subject(case)?;
    let json = about(shapes::artifact(case, KIND, 1)?, &subject);
    let entry = refer(case, &json, Some(KIND))?;
    let shape = Shape::of(&json);
    // Other tags of the same, other images, and a referrer of another subject.
    for tag in ["a", "b"] {
        case.put(tag, &shape.media_type, &shape.bytes)?.is(201)?;
    }
    let other = shapes::put(case, &Shape::of(&shapes::image(case, 2)?))?;
    refer(case, &about(shapes::artifact(case, "application/other", 1)?, &other), None)?;
    are(listed(case, &subject, "")?, vec![entry])?;
    let tags = case.ask("GET", "tags/list")?.is(200)?;
    same("tags", tags.json()["tags"].clone(), json!(["a", "b"]))
}

fn deleted(case: &Case) -> Outcome {
    let subject = subject(case)?;
    let entry = refer(case, &about(shapes::artifact(case, KIND, 1)?, &subject), Some(KIND))?;
    let keep = refer(case, &about(shapes::artifact(case, KIND, 0)?, &subject), Some(KIND))?;
    case.ask("DELETE", &format!("manifests/{}", digest_of(&entry)))?.is(202)?;
    are(listed(case, &subject, "")?, vec![keep])
}

fn many(case: &Case) -> Outcome {
    let subject = subject(case)?;
    let mut wanted = Vec::new();
    for number in 0..60 {
        let mut json = about(shapes::artifact(case, KIND, 0)?, &subject);
        json["annotations"] = json!({"number": number.to_string()});
        wanted.push(refer(case, &json, Some(KIND))?);
    }
    are(listed(case, &subject, "")?, wanted)
}

fn malformed(case: &Case) -> Outcome {
    subject(case)?;
    for digest in ["sha256:bad", "x", "md5:9dd4e461268c8034f5c8564e155c67a6"] {
        let answer = case.ask("GET", &format!("referrers/{digest}"))?.one_of(&[400, 404])?;
        let codes = ["DIGEST_INVALID", "UNSUPPORTED", "NAME_UNKNOWN", "MANIFEST_UNKNOWN"];
        answer.error(&codes)?;
        holds("no list", answer.json()["manifests"].is_null())?;
    }
    Ok(())
}
