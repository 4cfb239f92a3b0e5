//! `ls`: the images of an archive or directory, without loading it, and the ID each engine will show.

use clap::Args;
use imgpack::Result;
use imgpack::inspect::{Row, inventory};
use imgpack::transfer;
use imgpack::transport::Origin;
use imgpack::transport::table::Place;
use serde_json::{Value, json};

use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::template::Format;
use super::{human, list, out, report};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack ls nginx.tar
  imgpack ls *.tar oci:layout dir:nginx
  imgpack ls store:
  docker save nginx | imgpack ls -
  imgpack ls --format '{{.Name}} {{.Manifest}}' nginx.tar")]
pub(crate) struct LsArgs {
    /// Archives, directories, or store:
    #[arg(required = true, value_name = "PLACE")]
    pub(crate) places: Vec<String>,
    /// Show IDs in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Output format: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

pub(crate) fn run(args: &LsArgs, run: &Run) -> Result<Outcome> {
    let format = Format::parse(args.format.as_deref().unwrap_or("table"))?;
    let (mut values, mut outcome) = (Vec::new(), Outcome::Done);
    for target in &args.places {
        let place = Place::parse(target)?;
        let source = place.source(run.env(), &|| run.scratch())?;
        let roots = transfer::choose(source.as_ref(), &place, run.ctx())?;
        let found = inventory(source.as_ref(), &roots, run.ctx())?;
        for warning in &found.warnings {
            run.ctx().warn(&format!("{target}: {warning}"));
        }
        outcome = report::unreadable(source.unreadable(), run).unwrap_or(outcome);
        values.extend(found.rows.iter().flat_map(|row| lines(row, args.no_trunc)));
    }
    if args.quiet {
        for value in &values {
            out::line(value["ID"].as_str().unwrap_or_default())?;
        }
        return Ok(outcome);
    }
    list::show(&values, &format, &COLUMNS, &COLUMNS)?;
    Ok(outcome)
}

const COLUMNS: [list::Column; 7] = [
    ("Name", "IMAGE"),
    ("Platform", "PLATFORM"),
    ("ID", "IMAGE ID"),
    ("TargetID", "DOCKER 29 ID"),
    ("Layers", "LAYERS"),
    ("Size", "SIZE"),
    ("Origin", "ORIGIN"),
];

/// One line for each name of an image. Docker up to 28 shows the config's digest as the ID, Docker 29
/// that of the manifest or index the name points at.
fn lines(row: &Row, whole: bool) -> Vec<Value> {
    let size = row.layers.iter().map(|l| l.desc.size).sum();
    let id =
        |digest: imgpack::digest::Digest| if whole { digest.to_string() } else { digest.short() };
    let line = |name: String| {
        json!({
            "Name": name,
            "Platform": row.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            "ID": row.image_id.map_or_else(|| "-".to_owned(), id),
            "TargetID": id(row.root.desc.digest),
            "Manifest": row.manifest.digest.to_string(),
            "Layers": row.layers.len(),
            "Size": human::size(size),
            "Origin": if row.root.origin == Origin::Synthesised { "made here" } else { "recorded" },
        })
    };
    if row.root.names.is_empty() {
        let label = row
            .root
            .label
            .as_deref()
            .map_or("<none>".into(), |l| imgpack::text::escape(l).into_owned());
        return vec![line(label)];
    }
    row.root.names.iter().map(|n| line(n.familiar())).collect()
}
