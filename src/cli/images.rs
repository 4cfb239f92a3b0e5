//! `images`: what the store holds, in docker's columns.

use clap::Args;
use imgpack::find::{self, no_image};
use imgpack::images::Described;
use imgpack::reference::Reference;
use imgpack::transport::Source;
use imgpack::transport::table::Place;
use imgpack::{Cause, Error, Kind, Result};
use rayon::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exit::Outcome;
use super::filter::Filters;
use super::run::Run;
use super::template::Format;
use super::{human, list, out};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack images
  imgpack images --digests --no-trunc
  imgpack images -q --filter reference='registry.local/*'
  imgpack images --format '{{.Repository}}:{{.Tag}} {{.Size}}'

SIZE is the size of the image's blobs in the store; compressed layers count with their compressed size.")]
pub(crate) struct ImagesArgs {
    /// Only this repository, or repository and tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
    /// Also show intermediate images (accepted for compatibility with docker)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Show IDs in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Filter the list: dangling=, label=, before=, since=, reference=
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Output format: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// One line of the list: an image under one name.
struct Line<'a> {
    image: &'a Described,
    name: Option<&'a Reference>,
}

pub(crate) fn run(args: &ImagesArgs, run: &Run) -> Result<Outcome> {
    let format = Format::parse(args.format.as_deref().unwrap_or("table"))?;
    if let Some(place) = args.repository.as_deref().filter(|word| Place::has_scheme(word)) {
        let what = "is a place, and `images` lists the store";
        let place = place.trim_end_matches(':');
        return Err(Error::new(Kind::Usage, what).input(place).because(Cause::NotTheStore));
    }
    let mut wanted = args.filter.clone();
    wanted.extend(args.repository.iter().map(|pattern| format!("reference={pattern}")));
    let filters = Filters::parse(&wanted)?;
    let Some(source) = run.store().source()? else { return show(&[], args, &format) };
    let roots: Vec<_> = source.roots().iter().filter(|r| !r.companion).collect();
    let described: Vec<Result<Described>> =
        roots.par_iter().map(|root| Described::new(&source, root, run.ctx())).collect();
    let mut images = Vec::new();
    for (root, result) in roots.iter().zip(described) {
        match result {
            Ok(image) => images.push(image),
            Err(e) => run.ctx().warn(&format!("{}: {e}", root.title())),
        }
    }
    // Newest first, as docker lists them.
    images.sort_by_key(|i| std::cmp::Reverse(created(i)));
    let bounds = |names: &[String]| -> Result<Vec<i64>> {
        names
            .iter()
            .map(|name| {
                let found = find::one(&source, name, run.ctx())?.root;
                let image = images.iter().find(|i| i.root.desc.digest == found.desc.digest);
                let missing = || no_image(name);
                Ok(created(image.ok_or_else(missing)?))
            })
            .collect()
    };
    let (before, since) = (bounds(&filters.before)?, bounds(&filters.since)?);
    let until = filters.until(now())?;
    let mut lines = Vec::new();
    for image in &images {
        let time = created(image);
        let in_time = until.is_none_or(|t| time < t)
            && before.iter().all(|t| time < *t)
            && since.iter().all(|t| time > *t);
        let label = |key: &str| image.config.as_ref().and_then(|c| c.label(key));
        let names = &image.root.names;
        let tagged = names.iter().any(|name| name.tag().is_some());
        // To docker an image that has only a digest is neither: both values of the filter show it.
        let dangling = match filters.dangling {
            None => true,
            Some(true) => !tagged,
            Some(false) => !names.is_empty(),
        };
        if !in_time || !filters.labels(label) || !dangling {
            continue;
        }
        if names.is_empty() {
            if !filters.by_reference() {
                lines.push(Line { image, name: None });
            }
            continue;
        }
        // A digest has a line of its own where no tag of its repository has one.
        let shown = |name: &&Reference| {
            let tag_of = |other: &Reference| other.tag().is_some() && other.same_repository(name);
            name.tag().is_some() || !names.iter().any(tag_of)
        };
        for name in names.iter().filter(shown) {
            if filters.reference(&name.familiar_repository(), name.tag()) {
                lines.push(Line { image, name: Some(name) });
            }
        }
    }
    show(&lines, args, &format)
}

/// Creation time in seconds since 1970; long before when the image does not say.
fn created(image: &Described) -> i64 {
    image
        .config
        .as_ref()
        .and_then(|c| OffsetDateTime::parse(c.created(), &Rfc3339).ok())
        .map_or(i64::MIN, OffsetDateTime::unix_timestamp)
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn show(lines: &[Line<'_>], args: &ImagesArgs, format: &Format) -> Result<Outcome> {
    if args.quiet {
        let mut seen = std::collections::HashSet::new();
        for line in lines {
            if seen.insert(line.image.id) {
                out::line(&id(line, args.no_trunc))?;
            }
        }
        return Ok(Outcome::Done);
    }
    let values: Vec<Value> = lines.iter().map(|line| value(line, args.no_trunc)).collect();
    let digest = args.digests.then_some(("Digest", "DIGEST"));
    let columns: Vec<list::Column> = [("Repository", "REPOSITORY"), ("Tag", "TAG")]
        .into_iter()
        .chain(digest)
        .chain([("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("Size", "SIZE")])
        .collect();
    list::show(&values, format, &columns, &HEADERS)?;
    Ok(Outcome::Done)
}

const HEADERS: [list::Column; 7] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
];

fn id(line: &Line<'_>, whole: bool) -> String {
    let id = line.image.id;
    if whole { id.to_string() } else { id.short() }
}

fn value(line: &Line<'_>, whole: bool) -> Value {
    let created = created(line.image);
    let none = || "<none>".to_owned();
    json!({
        "Containers": "N/A",
        "CreatedAt": if created == i64::MIN { "N/A".to_owned() } else { human::timestamp(created) },
        "CreatedSince": if created == i64::MIN { "N/A".to_owned() } else { human::ago(created, now()) },
        "Digest": line.image.root.desc.digest.to_string(),
        "ID": id(line, whole),
        "Platform": line.image.image().and_then(|m| m.platform.as_ref()).map(ToString::to_string),
        "Repository": line.name.map_or_else(none, Reference::familiar_repository),
        "SharedSize": "N/A",
        "Size": human::size(line.image.size),
        "Tag": line.name.and_then(Reference::tag).map_or_else(none, str::to_owned),
        "UniqueSize": "N/A",
        "VirtualSize": human::size(line.image.size),
    })
}
