//! `tags`, `digest`, `delete`, `search`: queries to a registry that move no image.

use std::collections::BTreeSet;

use clap::Args;
use imgpack::companion::subject_of_tag;
use imgpack::reference::Reference;
use imgpack::registry::{Repository, TagOrDigest, no_image, no_repository};
use imgpack::transport::registry::remains;
use imgpack::transport::table::Place;
use imgpack::{Error, Kind, Result};
use serde_json::{Value, json};

use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::template::Format;
use super::{human, list, out};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack tags registry.local:5000/web/nginx
  imgpack tags --format json docker://quay.io/a/b      as skopeo list-tags prints it")]
pub(crate) struct TagsArgs {
    /// A repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Also list tags of signatures, attestations and referrers
    #[arg(short, long)]
    all: bool,
    /// `json` for one object with the repository and its tags
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    format: String,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack digest nginx:1.27
  imgpack digest registry.local:5000/web/nginx:1.27 registry.local:5000/web/redis:7")]
pub(crate) struct DigestArgs {
    /// Images by name, with a tag or a digest (default: latest)
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack delete registry.local:5000/web/nginx:1.27
  imgpack delete registry.local:5000/web/nginx@sha256:0123…    the image, and with it all its tags

Some registries do not delete tags; then delete the digest, which `imgpack digest` shows.")]
pub(crate) struct DeleteArgs {
    /// Names, each with a tag or a digest
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack search nginx                                 on Docker Hub
  imgpack search registry.local:5000/ngin              in a registry's catalog
  imgpack search registry.local:5000/                  all of it")]
pub(crate) struct SearchArgs {
    /// What to look for; HOST/TERM searches another registry than Docker Hub
    #[arg(value_name = "TERM")]
    term: String,
    /// Maximum number of results
    #[arg(long, value_name = "N", default_value_t = 25)]
    limit: usize,
    /// Output format: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten descriptions
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn tags(args: &TagsArgs, run: &Run) -> Result<Outcome> {
    let name = typed(&args.repository)?;
    let mut tags = repository(&name, run)?.tags()?.ok_or_else(|| no_repository(&name))?;
    tags.retain(|tag| args.all || subject_of_tag(tag).is_none());
    if args.format == "json" {
        let object = json!({"Repository": name.repository(), "Tags": tags});
        out::line(&object.to_string())?;
    } else {
        tags.iter().try_for_each(|tag| out::line(&imgpack::text::escape(tag)))?;
    }
    Ok(Outcome::Done)
}

pub(crate) fn digest(args: &DigestArgs, run: &Run) -> Result<Outcome> {
    for text in &args.names {
        let name = typed(text)?.or_latest();
        let found = repository(&name, run)?.head(TagOrDigest::to_read(&name))?;
        let found = found.ok_or_else(|| no_image(&name))?;
        out::line(&found.digest.to_string())?;
    }
    Ok(Outcome::Done)
}

pub(crate) fn delete(args: &DeleteArgs, run: &Run) -> Result<Outcome> {
    for text in &args.names {
        let name = typed(text)?;
        if name.tag().is_none() && name.digest().is_none() {
            let what = "expected a tag or a digest";
            return Err(Error::new(Kind::Usage, what).input(name.familiar()));
        }
        let repository = run.env().network.sink(run.ctx())?.repository(&name)?.direct();
        let family = match (name.digest(), repository.head(TagOrDigest::to_read(&name))) {
            (Some(_), Ok(Some(there))) => remains::family(&repository, &there).unwrap_or_default(),
            // A tag that goes leaves the image there.
            _ => BTreeSet::new(),
        };
        match repository.delete(TagOrDigest::to_read(&name)) {
            Err(e) if e.kind() == Kind::Unsupported => {
                // Of what is not there it matters little what the registry deletes.
                let there =
                    repository.head(TagOrDigest::to_read(&name))?.ok_or_else(|| no_image(&name))?;
                let e = e.note(format!("it is {}", there.digest));
                return Err(e.input(name.familiar()));
            }
            other => other.map_err(|e| e.input_or(name.familiar()))?,
        }
        out::line(&format!("Deleted: {name}"))?;
        if !family.is_empty() {
            let swept = repository.tags().and_then(|tags| {
                remains::sweep(&repository, &tags.unwrap_or_default(), &family, run.ctx())
            });
            if let Err(e) = swept {
                run.ctx().warn(&format!("tags of its referrers may remain: {e}"));
            }
        }
    }
    Ok(Outcome::Done)
}

pub(crate) fn search(args: &SearchArgs, run: &Run) -> Result<Outcome> {
    let format = Format::parse(args.format.as_deref().unwrap_or("table"))?;
    let (domain, term) = split(&args.term);
    let registries = run.env().network.source(run.ctx())?;
    let found = registries.search(domain, term, args.limit)?;
    let values: Vec<Value> = found
        .iter()
        .map(|one| {
            let name = match domain {
                "docker.io" => one.path.strip_prefix("library/").unwrap_or(&one.path).to_owned(),
                _ => format!("{domain}/{}", one.path),
            };
            let description = match args.no_trunc {
                true => one.description.clone(),
                false => human::ellipsis(&one.description, 45),
            };
            let official = if one.official { "[OK]" } else { "" };
            json!({"Name": name, "Description": description, "StarCount": one.stars.to_string(),
                "IsOfficial": official})
        })
        .collect();
    const COLUMNS: [list::Column; 4] = [
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
    ];
    list::show(&values, &format, &COLUMNS, &COLUMNS)?;
    Ok(Outcome::Done)
}

/// The registry that is searched and the term: what stands before the first slash is a registry when
/// it could not be a repository of the hub.
fn split(term: &str) -> (&str, &str) {
    let term = term.strip_prefix("docker://").unwrap_or(term);
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ if term.contains(':') || term == "localhost" => (term, ""),
        _ => ("docker.io", term),
    }
}

/// A name as it is typed for a registry, `docker://` allowed.
fn typed(text: &str) -> Result<Reference> {
    Place::registry(text).reference()
}

/// A repository, with the settings of the side that is read.
fn repository(name: &Reference, run: &Run) -> Result<Repository> {
    run.env().network.source(run.ctx())?.repository(name)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_registry_goes_before_the_term() {
        for (typed, want) in [
            ("nginx", ("docker.io", "nginx")),
            ("bitnami/nginx", ("docker.io", "bitnami/nginx")),
            ("localhost:5000/ngi", ("localhost:5000", "ngi")),
            ("localhost:5000", ("localhost:5000", "")),
            ("quay.io/a/b", ("quay.io", "a/b")),
            ("docker://registry.local/", ("registry.local", "")),
        ] {
            assert_eq!(split(typed), want, "{typed}");
        }
    }
}
