//! `history`: how an image came to be, newest step first.

use clap::Args;
use imgpack::Result;
use imgpack::images::Described;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exit::Outcome;
use super::registries::RegistryFlags;
use super::run::Run;
use super::template::Format;
use super::{human, list, out, pick};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack history nginx:1.27
  imgpack history --no-trunc nginx.tar
  imgpack history --format '{{.CreatedBy}}' nginx:1.27")]
pub(crate) struct HistoryArgs {
    /// An image of the store, or a place that holds one
    #[arg(value_name = "IMAGE|PLACE")]
    pub(crate) image: String,
    /// Print only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Show commands in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show sizes and dates in human-readable form
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) human: bool,
    /// Output format: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// Longest command shown without `--no-trunc`.
const COMMAND: usize = 45;

pub(crate) fn run(args: &HistoryArgs, run: &Run) -> Result<Outcome> {
    let format = Format::parse(args.format.as_deref().unwrap_or("table"))?;
    let (source, root) = pick::one(&args.image, run)?;
    let values = steps(&Described::new(source.as_ref(), &root, run.ctx())?, args);
    if args.quiet {
        for value in &values {
            out::line(value["ID"].as_str().unwrap_or_default())?;
        }
        return Ok(Outcome::Done);
    }
    let created =
        if args.human { ("CreatedSince", "CREATED") } else { ("CreatedAt", "CREATED AT") };
    let columns = [HEADERS[0], created, HEADERS[3], HEADERS[4], HEADERS[5]];
    list::show(&values, &format, &columns, &HEADERS)?;
    Ok(Outcome::Done)
}

const HEADERS: [list::Column; 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

fn steps(image: &Described, args: &HistoryArgs) -> Vec<Value> {
    let history = image.config.as_ref().map(imgpack::config::Config::history).unwrap_or_default();
    let mut sizes = image.image().map(|m| m.layers.iter().map(|l| l.size)).into_iter().flatten();
    let mut values: Vec<Value> = history
        .iter()
        .map(|step| {
            let size = if step.empty_layer { 0 } else { sizes.next().unwrap_or_default() };
            let command = if args.no_trunc {
                step.created_by.clone()
            } else {
                human::ellipsis(&step.created_by, COMMAND)
            };
            let time = OffsetDateTime::parse(&step.created, &Rfc3339).ok();
            let since = time.map_or("N/A".to_owned(), |t| {
                human::ago(t.unix_timestamp(), OffsetDateTime::now_utc().unix_timestamp())
            });
            json!({
                "ID": "<missing>",
                "CreatedAt": step.created,
                "CreatedSince": since,
                "CreatedBy": command,
                "Size": if args.human { human::size(size) } else { size.to_string() },
                "Comment": step.comment,
            })
        })
        .collect();
    if let Some(last) = values.last_mut() {
        let id = if args.no_trunc { image.id.to_string() } else { image.id.short() };
        last["ID"] = id.into();
    }
    values.reverse();
    values
}
