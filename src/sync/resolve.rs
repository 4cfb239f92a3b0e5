//! From what is wanted to images: filters against the tags of repositories, names against roots.
//!
//! It copies nothing. An entry that matches nothing is a failure of its own and does not hide the rest.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::find::Exact;
use crate::reference::Reference;
use crate::sync::select::{TagFilter, WantedImages};
use crate::sync::source::Listing;
use crate::transport::Root;

/// Images by name, in the order in which they were wanted, and what came to nothing.
#[derive(Debug, Default)]
pub struct Resolved {
    /// References with a tag, a digest or both.
    pub names: Vec<Reference>,
    /// What was wanted, and why it is not there.
    pub failed: Vec<(String, Error)>,
}

/// Asks registries for the tags and repositories that are meant.
///
/// # Errors
/// `Interrupted`.
pub fn at_registries(
    wanted: &[WantedImages],
    registries: &dyn Listing,
    ctx: &Context,
) -> Result<Resolved> {
    // Asked side by side, put together in order.
    let answers: Vec<Vec<Answer>> = wanted.par_iter().map(|w| one(w, registries, ctx)).collect();
    let mut resolved = Resolved::default();
    let mut seen = std::collections::HashSet::new();
    for answer in answers.into_iter().flatten() {
        match answer {
            Ok(names) => {
                resolved.names.extend(names.into_iter().filter(|n| seen.insert(n.clone())));
            }
            Err((_, e)) if e.kind() == Kind::Interrupted => return Err(e),
            Err(failed) => resolved.failed.push(failed),
        }
    }
    Ok(resolved)
}

type Answer = Result<Vec<Reference>, (String, Error)>;

fn one(wanted: &WantedImages, registries: &dyn Listing, ctx: &Context) -> Vec<Answer> {
    let failed = |what: &dyn ToString, e: Error| Err((what.to_string(), e));
    if let Err(e) = ctx.check() {
        return vec![failed(wanted, e)];
    }
    match wanted {
        WantedImages::Image(name) => vec![Ok(vec![name.clone()])],
        WantedImages::Repository { name, tags } => {
            vec![tagged(name, tags, registries).map_err(|e| (wanted.to_string(), e))]
        }
        WantedImages::Catalog(domain) => match registries.catalog(domain) {
            Err(e) => vec![failed(wanted, e.input_or(domain.clone()))],
            Ok(paths) => paths
                .par_iter()
                .map(|path| {
                    let repository = format!("{domain}/{path}");
                    let name = repository.parse::<Reference>();
                    // A repository without tags is no failure of its registry.
                    match name.and_then(|name| all(&name, registries)) {
                        Ok(names) => Ok(names),
                        Err(e) if e.kind() == Kind::Missing => Ok(Vec::new()),
                        Err(e) => failed(&format!("{repository}:*"), e.input_or(repository)),
                    }
                })
                .collect(),
        },
    }
}

fn all(name: &Reference, registries: &dyn Listing) -> Result<Vec<Reference>> {
    TagFilter::All.pick(&registries.tags(name)?).iter().map(|tag| name.with_tag(tag)).collect()
}

fn tagged(name: &Reference, tags: &TagFilter, registries: &dyn Listing) -> Result<Vec<Reference>> {
    let repository = name.repository();
    let found = registries.tags(name).map_err(|e| e.input_or(repository.clone()))?;
    let picked = tags.pick(&found);
    if picked.is_empty() {
        let what = format!("none of its {} tags matches {tags}", found.len());
        return Err(Error::missing(what).input(repository));
    }
    picked.iter().map(|tag| name.with_tag(tag)).collect()
}

/// Finds what is wanted among the names of a directory or an archive.
pub fn among(wanted: &[WantedImages], roots: &[Root]) -> Resolved {
    let images = || roots.iter().filter(|root| !root.companion);
    let mut repositories: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in images().flat_map(|root| &root.names) {
        if let Some(tag) = name.tag() {
            repositories.entry(name.repository()).or_default().push(tag.to_owned());
        }
    }
    let (mut resolved, exact) = (Resolved::default(), Exact::of(roots));
    let mut seen = std::collections::HashSet::new();
    for wanted in wanted {
        let found: Vec<Reference> = match wanted {
            WantedImages::Image(name) => {
                exact.find(name).map(|_| name.clone()).into_iter().collect()
            }
            WantedImages::Repository { name, tags } => {
                let have = repositories.get(&name.repository()).map(Vec::as_slice);
                let picked = tags.pick(have.unwrap_or_default());
                picked.iter().filter_map(|tag| name.with_tag(tag).ok()).collect()
            }
            WantedImages::Catalog(domain) => images()
                .flat_map(|root| root.names.iter().filter(|name| name.domain() == domain))
                .cloned()
                .collect(),
        };
        if found.is_empty() {
            resolved.failed.push((wanted.to_string(), Error::missing("is not there")));
        }
        resolved.names.extend(found.into_iter().filter(|name| seen.insert(name.clone())));
    }
    resolved
}

/// What an image is called at its source: by its tag, and without one by its digest.
pub fn called(name: &Reference) -> Reference {
    match name.tag().and_then(|tag| name.with_tag(tag).ok()) {
        Some(tagged) => tagged,
        None => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;
    use crate::sync::select::{Bare, item};
    use crate::transport::Origin;

    fn root(names: &[&str], companion: bool) -> Root {
        Root {
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            label: None,
            desc: Descriptor::of(crate::media_type::OCI_MANIFEST, names.concat().as_bytes()),
            origin: Origin::Recorded,
            companion,
        }
    }

    #[test]
    fn what_is_wanted_is_found_among_names() {
        let roots = [
            root(&["nginx:1.26"], false),
            root(&["nginx:1.27", "quay.io/x/nginx:1.27"], false),
            root(&["quay.io/x/signature:1"], true),
            root(&["r.local/a:1"], false),
        ];
        let digest = roots[3].desc.digest;
        for (text, want) in [
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("nginx:1.*", "docker.io/library/nginx:1.26 docker.io/library/nginx:1.27"),
            ("quay.io/*", "quay.io/x/nginx:1.27"),
            (&format!("r.local/b@{digest}"), &format!("r.local/b@{digest}")),
            ("nginx:2.*", ""),
            ("gcr.io/*", ""),
            ("nginx", ""),
        ] {
            let found = among(&[item(text, &Bare::Latest).unwrap()], &roots);
            let names: Vec<String> = found.names.iter().map(ToString::to_string).collect();
            assert_eq!(names.join(" "), want, "{text}");
            assert_eq!(found.failed.len(), usize::from(want.is_empty()), "{text}");
        }
        let pinned: Reference = format!("nginx:9@{digest}").parse().unwrap();
        assert_eq!(called(&pinned).to_string(), "docker.io/library/nginx:9");
    }
}
