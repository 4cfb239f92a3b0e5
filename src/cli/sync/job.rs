//! From the command line to a job of the library: every file given by a flag is read here.

use std::collections::BTreeMap;
use std::path::Path;

use imgpack::copy::Policy;
use imgpack::io::look;
use imgpack::sync::lock::Lock;
use imgpack::sync::naming::{RenameRules, Style};
use imgpack::sync::policy::AdmissionPolicy;
use imgpack::sync::select::{
    self, Bare, Selection, TagFilter, WantedImages, compose, kubernetes, list, yaml,
};
use imgpack::sync::signature::Key;
use imgpack::sync::{SyncJob, report};
use imgpack::transport::table::{Place, Scheme};
use imgpack::{Cause, Error, Kind, Result, transfer};

use super::args::{SourceKind, SyncArgs, To};

/// The arguments of a command line.
struct Arguments<'a> {
    from: SourceKind,
    to: To,
    /// Whether skopeo's spelling was used.
    skopeo: bool,
    source: Option<&'a str>,
    target: &'a str,
}

const MODES: [(&str, SourceKind, To); 7] = [
    ("registry-to-dir", SourceKind::Docker, To::Dir),
    ("dir-to-registry", SourceKind::Dir, To::Docker),
    ("registry-to-registry", SourceKind::Docker, To::Docker),
    ("dir-to-dir", SourceKind::Dir, To::Dir),
    ("archive-to-registry", SourceKind::Archive, To::Docker),
    ("registry-to-archive", SourceKind::Docker, To::Archive),
    ("archive-to-dir", SourceKind::Archive, To::Dir),
];

const DIRECTORIES: [&str; 2] = ["dir:", "oci:"];
const ARCHIVES: [&str; 2] = ["docker-archive:", "oci-archive:"];

/// A job from the command line; `variables` fill in Compose files. Nothing when there is nothing to
/// try again.
///
/// # Errors
/// `Usage`, and those of the files that are named.
pub(super) fn job(
    args: &SyncArgs,
    variables: &BTreeMap<String, String>,
) -> Result<Option<SyncJob>> {
    let words = words(args)?;
    let from = match words.from {
        SourceKind::Docker | SourceKind::Yaml => Place::registry(""),
        SourceKind::Dir | SourceKind::Oci => directory(path(words.source, &DIRECTORIES)?)?,
        SourceKind::Archive => Place::at(path(words.source, &ARCHIVES)?),
    };
    let to = match words.to {
        To::Docker => Place::registry(""),
        To::Dir => Place::layout(path(Some(words.target), &DIRECTORIES)?),
        To::Archive => Place::archive(path(Some(words.target), &ARCHIVES)?),
    };
    let remote = from.scheme == Scheme::Registry;
    if !remote && from.path == to.path {
        return Err(usage("source and destination are the same place"));
    }
    if !args.course.emit.is_empty() && to.scheme != Scheme::Registry {
        return Err(usage("--emit needs a registry as the destination"));
    }
    let pins = match &args.which.lock {
        Some(file) => {
            let text = select::read(file)?;
            Some(Lock::parse(text.as_bytes()).map_err(|e| e.input_or(file.display().to_string()))?)
        }
        None => None,
    };
    let Some(selection) = selection(args, &words, variables)? else { return Ok(None) };
    if remote && selection.is_empty() && pins.is_none() {
        return Err(usage("name the images: SRC, -f FILE, --from-k8s or --from-compose"));
    }
    Ok(Some(SyncJob {
        naming: naming(args, &words)?,
        intake: intake(args)?,
        companions: !args.which.no_companions,
        delete: args.course.delete,
        delete_most: args.course.delete_most,
        policy: policy(args, words.to == To::Docker)?,
        from,
        to,
        selection,
        pins,
    }))
}

fn words(args: &SyncArgs) -> Result<Arguments<'_>> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let (skopeo, from, to, rest) = match (args.src, args.dest) {
        (Some(from), Some(to)) => (true, from, to, &words[..]),
        _ => {
            let mode = MODES.iter().find(|(name, _, _)| *name == words[0]);
            let Some((_, from, to)) = mode else {
                let names: Vec<&str> = MODES.iter().map(|(name, _, _)| *name).collect();
                let word = imgpack::text::escape(words[0]);
                return Err(usage(&format!(
                    "unknown mode {word:?}: expected {}",
                    names.join(", ")
                )));
            };
            (false, *from, *to, &words[1..])
        }
    };
    let (source, target) = match rest {
        [source, target] => (Some(*source), *target),
        // Lists name the images of registries in full.
        [target] if from == SourceKind::Docker => (None, *target),
        _ => return Err(usage("expected a source and a destination: SRC DST")),
    };
    Ok(Arguments { from, to, skopeo, source, target })
}

fn path<'a>(text: Option<&'a str>, schemes: &[&str]) -> Result<&'a str> {
    let text = text.unwrap_or_default();
    let bare = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    if bare.is_empty() { Err(usage("a path is empty")) } else { Ok(bare) }
}

/// A directory with images.
fn directory(path: &str) -> Result<Place> {
    let place = Place::at(path);
    if look::at(&place.path)?.is_some_and(|found| !found.is_dir()) {
        return Err(Error::missing("is not a directory").input(path));
    }
    Ok(place)
}

/// Everything that is wanted. Nothing when an earlier run left nothing to try again.
fn selection(
    args: &SyncArgs,
    words: &Arguments<'_>,
    variables: &BTreeMap<String, String>,
) -> Result<Option<Selection>> {
    let which = &args.which;
    let filter = match &which.semver {
        Some(range) => Some(TagFilter::semver(range)?),
        None => which.all_tags.then_some(TagFilter::All),
    };
    let bare = filter.clone().map_or(Bare::Latest, Bare::Tags);
    let mut selection = Selection::default();
    for file in &which.file {
        selection.extend(list::file(file, &bare).map_err(|e| unlisted(e, file))?);
    }
    for file in &which.from_k8s {
        selection.extend(kubernetes::path(file)?);
    }
    for file in &which.from_compose {
        selection.extend(compose::file(file, variables)?);
    }
    selection.guess(which.guess);
    let lists = which.file.len() + which.from_k8s.len() + which.from_compose.len();
    if let Some(file) = &which.retry {
        let text = select::read(file)?;
        let again = report::retry(text.as_bytes());
        selection.extend(again.map_err(|e| e.input_or(file.display().to_string()))?);
        if selection.is_empty() {
            return Ok(None);
        }
    } else if lists > 0 && selection.is_empty() {
        // Nothing wanted must not become everything.
        let nothing = Error::missing("the lists name no images");
        return Err(selection.warnings.iter().fold(nothing, Error::note));
    }
    match (words.from, words.source) {
        (SourceKind::Yaml, Some(file)) => {
            let text = select::read(Path::new(file))?;
            let found = yaml::parse(&text).map_err(|e| e.input_or(file))?;
            selection.extend(found);
        }
        (SourceKind::Docker, Some(source)) => {
            if lists > 0 || which.retry.is_some() || which.lock.is_some() {
                return Err(usage("omit SRC when a list names the images"));
            }
            selection.add(registry(source, which.catalog, filter)?);
        }
        _ if which.catalog => return Err(usage("--catalog needs a registry as SRC")),
        _ => {}
    }
    if !which.platform.is_empty() {
        // A setting for one image overrides a flag, which overrides a setting for the whole list.
        selection.platforms.retain(|_, own| !own.by_default);
    }
    Ok(Some(selection))
}

/// What a registry as SRC means: a whole one, a repository or an image.
fn registry(source: &str, catalog: bool, filter: Option<TagFilter>) -> Result<WantedImages> {
    let bare = source.strip_prefix("docker://").unwrap_or(source);
    if catalog {
        return select::domain_of(bare).map(WantedImages::Catalog);
    }
    let host = bare.split(':').next().unwrap_or_default();
    let plain = !bare.contains(['/', '@', '*', '<', '>', '=', ' ']);
    if plain && (host.contains('.') || host == "localhost") {
        let bare = imgpack::text::escape(bare);
        return Err(usage(&format!("{bare} is a whole registry; name a repository, or --catalog")));
    }
    // As skopeo has it: a repository without a tag is all of its tags.
    select::item(bare, &Bare::Tags(filter.unwrap_or(TagFilter::All)))
}

fn naming(args: &SyncArgs, words: &Arguments<'_>) -> Result<RenameRules> {
    let names = &args.names;
    let base = if words.to == To::Docker { Some(words.target.parse()?) } else { None };
    let style = match (names.scoped, words.skopeo) {
        (true, _) => Style::Scoped,
        (false, true) => Style::Last,
        (false, false) => Style::Path,
    };
    Ok(RenameRules {
        base,
        style,
        maps: names.map.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        strip: names.strip.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        prefix: names.prefix.clone(),
        suffix: names.append_suffix.clone(),
        template: names.rename.as_deref().map(str::parse).transpose()?,
    })
}

fn intake(args: &SyncArgs) -> Result<AdmissionPolicy> {
    let allow = args.intake.allow.iter().map(|text| text.parse()).collect::<Result<_>>()?;
    let mut keys = Vec::new();
    for file in &args.intake.verify_key {
        // A key that cannot be used lets nothing in.
        let read = select::read(file).and_then(|text| Key::parse_all(&text));
        let shown = file.display().to_string();
        keys.extend(read.map_err(|e| e.kind_as(Kind::Policy).input_or(shown))?);
    }
    Ok(AdmissionPolicy { allow, keys })
}

fn policy(args: &SyncArgs, to_registry: bool) -> Result<Policy> {
    let platforms = args.which.platform.iter().map(|p| p.parse()).collect::<Result<_>>()?;
    let compress = match &args.course.compress {
        Some(text) => Some(text.parse().map_err(|e: Error| e.kind_as(Kind::Usage))?),
        None => None,
    };
    let mut policy = Policy {
        platforms,
        compress,
        // What is carried is checked by digest; unpacking every layer is for where it will be used.
        unpack: args.course.unpack_check,
        keep_going: !args.course.fail_fast,
        ..Policy::default()
    };
    if to_registry && !args.course.preserve_digests {
        transfer::pack(&mut policy);
    }
    Ok(policy)
}

/// A list that is not there is no place; a hint tells what `-f` takes.
fn unlisted(error: Error, file: &Path) -> Error {
    if error.kind() != Kind::Missing {
        return error;
    }
    let error = Error::missing("no such list of images").because(Cause::NoSuchList);
    error.input(file.display().to_string())
}

fn usage(what: &str) -> Error {
    Error::new(Kind::Usage, what)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::verb::{Cli, Verb};

    fn parse(line: &str) -> Result<SyncJob> {
        let typed = std::iter::once("imgpack").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(typed).map_err(|e| usage(&e.to_string()))?;
        let Verb::Sync(args) = cli.verb else { panic!("{line}") };
        Ok(job(&args, &BTreeMap::new())?.expect("a job"))
    }

    #[test]
    fn both_spellings_make_the_same_job() {
        for (line, from, to, wanted, style) in [
            (
                "sync registry-to-dir quay.io/a/b ./usb",
                Place::registry(""),
                Place::layout("./usb"),
                "quay.io/a/b:*",
                Style::Path,
            ),
            (
                "sync --src docker --dest dir quay.io/a/b:1 ./usb",
                Place::registry(""),
                Place::layout("./usb"),
                "quay.io/a/b:1",
                Style::Last,
            ),
            (
                "sync dir-to-registry dir:usb docker://r.local:5000/x --scoped",
                Place::at("usb"),
                Place::registry(""),
                "",
                Style::Scoped,
            ),
            (
                "sync registry-to-archive --catalog r.local:5000 x.tar",
                Place::registry(""),
                Place::archive("x.tar"),
                "r.local:5000/*",
                Style::Path,
            ),
            (
                "sync registry-to-dir --semver >=1 nginx usb",
                Place::registry(""),
                Place::layout("usb"),
                "docker.io/library/nginx:>=1",
                Style::Path,
            ),
            (
                "sync -s oci -d docker usb r.local",
                Place::at("usb"),
                Place::registry(""),
                "",
                Style::Last,
            ),
        ] {
            let job = parse(line).unwrap();
            let shown: Vec<String> = job.selection.wanted.iter().map(ToString::to_string).collect();
            assert_eq!((job.from, job.to), (from, to), "{line}");
            assert_eq!(shown.join(" "), wanted, "{line}");
            assert_eq!(job.naming.style, style, "{line}");
            assert!(job.policy.keep_going && job.companions);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "sync",
            "sync nowhere-to-dir a b",
            "sync dir-to-registry usb",
            "sync dir-to-registry usb registry",
            "sync dir-to-dir usb usb",
            "sync registry-to-dir usb",
            "sync registry-to-dir quay.io usb",
            "sync registry-to-dir localhost:5000 usb",
            "sync registry-to-dir -f no-such-file usb",
            "sync registry-to-dir a b c d",
            "sync --src docker a b",
            "sync dir-to-registry --rename {name} --prefix x usb r.local",
            "sync dir-to-dir --emit k3s out a b",
            "sync dir-to-dir --catalog a b",
            "sync dir-to-registry --map x usb r.local",
            "sync dir-to-registry --keep-going --fail-fast usb r.local",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
