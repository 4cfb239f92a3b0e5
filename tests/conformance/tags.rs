//! Lists of tags and of repositories, and their pages. distribution-spec, Listing Tags, end-8; `_catalog`
//! as docker has it.

use serde_json::Value;

use super::call::Answer;
use super::shapes;
use super::{Case, Check, Miss, Outcome, fail, holds, same};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::once("sorted, each once, the new one at once", sorted),
    Check::once("n", few),
    Check::once("last", after),
    Check::once("n=0 is nothing, without a Link", zero),
    Check::once("a huge n is not refused", huge),
    Check::once("no number for n", no_number),
    Check::once("pages by Link, relative and quoted", pages),
    Check::once("_catalog", catalog),
    Check::once("_catalog in pages", catalog_pages),
    Check::once("_catalog with n=0 and a huge n", catalog_bounds),
];

const TAGS: [&str; 5] = ["1.0", "1.1", "beta", "latest", "v2"];

/// A repository with five tags, pushed in another order.
fn five(case: &Case) -> Outcome {
    let shape = shapes::Shape::of(&shapes::image(case, 1)?);
    for at in [3, 0, 4, 2, 1] {
        case.put(TAGS[at], &shape.media_type, &shape.bytes)?.is(201)?;
    }
    Ok(())
}

fn names(answer: &Answer, field: &str) -> Result<Vec<String>, Miss> {
    let json = answer.json();
    match json[field].as_array() {
        Some(all) => Ok(all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        None => fail(format!("{}: {field} is {}", answer.line, json[field])),
    }
}

/// The path of the next page, from a Link that is relative and quoted.
pub fn next(answer: &Answer) -> Result<Option<String>, Miss> {
    let Some(link) = answer.head.get("link") else { return Ok(None) };
    let path = link
        .strip_prefix('<')
        .and_then(|l| l.split_once(">;"))
        .map(|(path, rest)| (path, rest.trim()));
    match path {
        Some((path, "rel=\"next\"")) if path.starts_with("/v2/") => Ok(Some(path.to_owned())),
        _ => fail(format!("{}: Link: {link}", answer.line)),
    }
}

fn are(case: &Case, query: &str, wanted: &[&str]) -> Result<Answer, Miss> {
    let answer = case.ask("GET", &format!("tags/list{query}"))?.is(200)?;
    same("name", answer.json()["name"].as_str(), Some(case.repository.as_str()))?;
    let media = answer.header("Content-Type")?;
    holds(&format!("Content-Type {media}"), media.starts_with("application/json"))?;
    same(
        &format!("tags{query}"),
        names(&answer, "tags")?,
        wanted.iter().map(ToString::to_string).collect(),
    )?;
    Ok(answer)
}

fn sorted(case: &Case) -> Outcome {
    five(case)?;
    are(case, "", &TAGS)?.lacks("Link")?;
    shapes::tagged(case, "c", 2)?;
    shapes::tagged(case, "c", 2)?;
    are(case, "", &["1.0", "1.1", "beta", "c", "latest", "v2"]).map(|_| ())
}

fn few(case: &Case) -> Outcome {
    five(case)?;
    are(case, "?n=2", &TAGS[..2])?;
    are(case, "?n=5", &TAGS)?.lacks("Link")
}

fn after(case: &Case) -> Outcome {
    five(case)?;
    are(case, "?last=1.1", &TAGS[2..])?;
    are(case, "?last=b", &TAGS[2..])?; // no tag, but a place in the order
    are(case, "?n=1&last=beta", &TAGS[3..4])?;
    are(case, "?last=v2", &[])?.lacks("Link")
}

fn zero(case: &Case) -> Outcome {
    five(case)?;
    are(case, "?n=0", &[])?.lacks("Link")
}

fn huge(case: &Case) -> Outcome {
    five(case)?;
    for n in ["10000", "1000000", "9223372036854775807"] {
        are(case, &format!("?n={n}"), &TAGS)?.lacks("Link")?;
    }
    Ok(())
}

fn no_number(case: &Case) -> Outcome {
    five(case)?;
    for n in ["-1", "x", "1.5", "99999999999999999999999", "%00", ""] {
        case.ask("GET", &format!("tags/list?n={n}"))?.one_of(&[200, 400])?;
    }
    Ok(())
}

fn pages(case: &Case) -> Outcome {
    five(case)?;
    let mut all = Vec::new();
    let mut path = case.at("tags/list?n=2");
    for page in 1..=3 {
        let answer = case.call("GET", &path).send()?.is(200)?;
        all.extend(names(&answer, "tags")?);
        match next(&answer)? {
            Some(more) if page < 3 => path = more,
            None if page == 3 => return same("tags", all, TAGS.map(str::to_owned).to_vec()),
            other => return fail(format!("page {page} of 3: next is {other:?}")),
        }
    }
    Ok(())
}

/// Three repositories that have a tag each.
fn three(case: &Case) -> Result<Vec<String>, Miss> {
    let all: Vec<_> = ["a", "b", "c"].map(|n| format!("{}/{n}", case.repository)).to_vec();
    for name in &all {
        shapes::tagged(&case.beside(name), "v1", 1)?;
    }
    Ok(all)
}

fn catalog(case: &Case) -> Outcome {
    let wanted = three(case)?;
    let mut all = Vec::new();
    let mut path = Some("/v2/_catalog".to_owned());
    while let Some(this) = path {
        let answer = case.call("GET", &this).send()?.is(200)?;
        all.extend(names(&answer, "repositories")?);
        path = next(&answer)?;
    }
    holds("the catalog is sorted, each once", all.is_sorted_by(|a, b| a < b))?;
    holds("the catalog has what was pushed", wanted.iter().all(|name| all.contains(name)))
}

fn catalog_pages(case: &Case) -> Outcome {
    let wanted = three(case)?;
    // From just before the first of them, one at a time.
    let mut path = format!("/v2/_catalog?n=1&last={}", case.repository);
    for name in &wanted {
        let answer = case.call("GET", &path).send()?.is(200)?;
        same("repositories", names(&answer, "repositories")?, vec![name.clone()])?;
        match next(&answer)? {
            Some(more) => path = more,
            // The last page of the whole catalog has none.
            None => same("the page without a Link", Some(name), wanted.last())?,
        }
    }
    Ok(())
}

fn catalog_bounds(case: &Case) -> Outcome {
    three(case)?;
    let none = case.call("GET", "/v2/_catalog?n=0").send()?.is(200)?;
    same("repositories", names(&none, "repositories")?, Vec::new())?;
    none.lacks("Link")?;
    let all = case.call("GET", "/v2/_catalog?n=1000000").send()?.is(200)?;
    holds("repositories", names(&all, "repositories")?.len() >= 3)
}
