//! `inspect`: what a place holds in our stable shape, or an image of the store in docker's.

use clap::Args;
use imgpack::Result;
use imgpack::images::Described;
use imgpack::inspect::inventory;
use imgpack::reference::Reference;
use imgpack::transfer;
use imgpack::transport::table::Place;
use imgpack::transport::{Root, Source};
use serde_json::{Map, Value, json};

use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::template::Format;
use super::{out, pick, report};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack inspect nginx.tar                     every image of an archive
  imgpack inspect --format json oci:layout      one line, stable for scripts
  imgpack inspect nginx:1.27                    an image of the store, as docker shows it
  imgpack inspect --format '{{.Config.Cmd}}' nginx:1.27
  imgpack inspect --format '{{.Digest}} {{.Os}}' docker://registry.local:5000/web/nginx:1.27

For a place with one image, templates also have docker's fields and skopeo's Name, Digest and Labels.")]
pub(crate) struct InspectArgs {
    /// Images of the store, or places
    #[arg(required = true, value_name = "IMAGE|PLACE")]
    pub(crate) targets: Vec<String>,
    /// Output format: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Accepted for compatibility with docker: there are only images here
    #[arg(long = "type", value_name = "TYPE", hide = true, value_parser = ["image"])]
    pub(crate) _kind: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &InspectArgs, run: &Run) -> Result<Outcome> {
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let (mut images, mut outcome) = (Vec::new(), Outcome::Done);
    for target in &args.targets {
        if pick::is_image(target, run)? {
            images.push(image(target, run)?);
        } else {
            let template = format.as_ref().is_some_and(|f| !matches!(f, Format::Json));
            let (value, unread) = place(target, run, template)?;
            show(&value, format.as_ref())?;
            outcome = unread.unwrap_or(outcome);
        }
    }
    if images.is_empty() {
        return Ok(outcome);
    }
    match format {
        None => out::line(&pretty(&Value::Array(images)))?,
        Some(_) => {
            for image in &images {
                show(image, format.as_ref())?;
            }
        }
    }
    Ok(outcome)
}

fn show(value: &Value, format: Option<&Format>) -> Result<()> {
    match format {
        None => out::line(&pretty(value)),
        Some(Format::Template(template) | Format::Table(Some(template))) => {
            out::line(&template.render(value)?)
        }
        Some(Format::Json | Format::Table(None)) => out::line(&value.to_string()),
    }
}

fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut to = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    if serde::Serialize::serialize(value, &mut to).is_err() {
        return value.to_string();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is in a place. For a template the fields that docker and skopeo have for one image stand beside
/// ours, so that `{{.Id}}` and `{{.Digest}}` mean of a place what they mean there. The outcome is that of
/// what could not be opened.
fn place(target: &str, run: &Run, template: bool) -> Result<(Value, Option<Outcome>)> {
    let place = Place::parse(target)?;
    let source = place.source(run.env(), &|| run.scratch())?;
    let roots = transfer::choose(source.as_ref(), &place, run.ctx())?;
    let mut value = inventory(source.as_ref(), &roots, run.ctx())?.to_value();
    let images: Vec<&Root> = roots.iter().filter(|r| !r.companion).collect();
    // What is damaged is shown in our shape alone.
    if template
        && let [root] = images[..]
        && let Ok(image) = Described::new(source.as_ref(), root, run.ctx())
        && let (Value::Object(all), Value::Object(docker)) = (&mut value, docker_shape(&image))
    {
        let name = root.names.first().map(Reference::repository);
        all.insert("Name".into(), name.unwrap_or_default().into());
        all.insert("Digest".into(), root.desc.digest.to_string().into());
        let labels = docker.get("Config").and_then(|c| c.get("Labels")).cloned();
        all.insert("Labels".into(), labels.unwrap_or(Value::Null));
        all.extend(docker);
    }
    Ok((value, report::unreadable(source.unreadable(), run)))
}

fn image(target: &str, run: &Run) -> Result<Value> {
    let (source, root) = pick::stored(target, run)?;
    let all = source.roots().iter().find(|r| r.desc.digest == root.desc.digest).unwrap_or(&root);
    let described = Described::new(&source, all, run.ctx())?;
    Ok(docker_shape(&described))
}

/// The object `docker inspect` prints for an image.
fn docker_shape(image: &Described) -> Value {
    let names = &image.root.names;
    let tagged = names.iter().filter(|name| name.tag().is_some());
    let tags: Vec<String> = tagged.map(Reference::familiar).collect();
    let mut digests: Vec<String> = Vec::new();
    for name in names.iter().map(|name| name.with_digest(image.root.desc.digest).familiar()) {
        if !digests.contains(&name) {
            digests.push(name);
        }
    }
    let body = image.config.as_ref().map(|c| c.body.clone()).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let diff_ids: Vec<String> = image
        .config
        .as_ref()
        .and_then(|c| c.diff_ids.as_ref())
        .map(|ids| ids.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    let mut map = Map::new();
    map.insert("Id".into(), image.id.to_string().into());
    map.insert("RepoTags".into(), json!(tags));
    map.insert("RepoDigests".into(), json!(digests));
    map.insert("Parent".into(), "".into());
    map.insert("Comment".into(), text("comment").into());
    map.insert("Created".into(), text("created").into());
    map.insert("DockerVersion".into(), text("docker_version").into());
    map.insert("Author".into(), text("author").into());
    map.insert("Config".into(), body.get("config").cloned().unwrap_or(Value::Null));
    map.insert("Architecture".into(), text("architecture").into());
    if body.contains_key("variant") {
        map.insert("Variant".into(), text("variant").into());
    }
    map.insert("Os".into(), text("os").into());
    map.insert("Size".into(), image.size.into());
    map.insert("RootFS".into(), json!({"Type": "layers", "Layers": diff_ids}));
    map.insert("Metadata".into(), json!({"LastTagTime": "0001-01-01T00:00:00Z"}));
    map.insert("Descriptor".into(), image.root.desc.to_value());
    Value::Object(map)
}
