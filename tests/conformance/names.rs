//! Names of repositories and tags: words that paths are divided by, the longest, and what is no name.
//! distribution-spec, Pulling manifests, on the grammar.

use super::manifests::reads;
use super::shapes;
use super::{Case, Check, Outcome};

/// The checks of this area.
pub const CHECKS: &[Check] = &[
    Check::once("components called blobs, manifests, tags, uploads, referrers", words),
    Check::once("a name of 255 characters", longest),
    Check::once("every character of the grammar", grammar),
    Check::once("tags of one and of 128 characters", tags),
    Check::once("what is no name", no_names),
    Check::once("what is no tag", no_tags),
];

/// Everything that can be done with a name.
fn works(case: &Case, name: &str) -> Outcome {
    let here = case.beside(name);
    let bytes = case.bytes(0, 100);
    let digest = here.push(&bytes)?;
    here.holds_blob(&digest, &bytes)?;
    let shape = shapes::tagged(&here, "latest", 1)?;
    reads(&here, "latest", &here.digest(&shape.bytes), &shape)?;
    let listed = here.ask("GET", "tags/list")?.is(200)?;
    super::same("name", listed.json()["name"].as_str(), Some(name))?;
    super::same("tags", listed.json()["tags"].clone(), serde_json::json!(["latest"]))
}

fn words(case: &Case) -> Outcome {
    let base = &case.repository;
    let ends = [
        "blobs",
        "manifests",
        "tags",
        "uploads",
        "referrers",
        "blobs/uploads",
        "x/blobs/y",
        "x/blobs/uploads",
        "x/blobs/uploads/y",
        "x/manifests/latest",
        "x/tags/list",
        "tags/list/x",
        "manifests/blobs/tags/uploads",
        "v2/x",
        "list",
    ];
    ends.iter().try_for_each(|end| works(case, &format!("{base}/{end}")))?;
    works(case, &format!("blobs/{base}"))?;
    works(case, &format!("manifests/{base}/manifests"))
}

fn longest(case: &Case) -> Outcome {
    let mut name = case.repository.clone();
    while name.len() < 200 {
        name.push_str("/component");
    }
    name.push('/');
    name.push_str(&"x".repeat(255 - name.len()));
    works(case, &name)
}

fn grammar(case: &Case) -> Outcome {
    works(case, &format!("{}/a.b_c__d-e---f/0/1.2.3", case.repository))
}

fn tags(case: &Case) -> Outcome {
    for tag in ["a", "_", "Upper-case_and.dots", &"t".repeat(128), "sha256-abc.sig"] {
        let shape = shapes::tagged(case, tag, 1)?;
        reads(case, tag, &case.digest(&shape.bytes), &shape)?;
    }
    Ok(())
}

fn no_names(case: &Case) -> Outcome {
    let base = &case.repository;
    let ends =
        ["Upper", "-a", "a-", ".a", "a..b", "_a", "a___b", "a%20b", "a%0ab", "%2e%2e", "a@b"];
    for end in ends {
        let here = case.beside(&format!("{base}/{end}"));
        here.ask("POST", "blobs/uploads/")?.one_of(&[400, 404])?;
        here.ask("GET", "manifests/latest")?.one_of(&[400, 404])?;
        here.ask("GET", "tags/list")?.one_of(&[400, 404])?;
    }
    let long = case.beside(&format!("{base}/{}", "x".repeat(300)));
    long.ask("POST", "blobs/uploads/")?.one_of(&[202, 400, 404]).map(|_| ())
}

fn no_tags(case: &Case) -> Outcome {
    let shape = shapes::tagged(case, "latest", 1)?;
    for tag in [".a", "-a", "a%20b", "a:b", "a%2fb", "%00", "a@b", &"t".repeat(129)] {
        case.put(tag, &shape.media_type, &shape.bytes)?.one_of(&[400, 404])?;
        case.ask("GET", &format!("manifests/{tag}"))?.one_of(&[400, 404])?;
    }
    Ok(())
}
