//! `import`: a root file system tar becomes an image of the store.

use std::io::{IsTerminal, Read};

use clap::Args;
use imgpack::copy::Policy;
use imgpack::platform::Platform;
use imgpack::transfer::{Images, Transfer};
use imgpack::transport::rootfs::Facts;
use imgpack::transport::table::Place;
use imgpack::{Error, Kind, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::exit::Outcome;
use super::out;
use super::run::Run;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack import -c 'CMD [\"/bin/sh\"]' rootfs.tar.gz my/base:1
  debootstrap-and-tar | imgpack import - my/base:1")]
pub(crate) struct ImportArgs {
    /// A root file system tar, plain or compressed; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) name: Option<String>,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long, value_name = "CHANGE")]
    pub(crate) change: Vec<String>,
    /// Message for the history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Creation time, RFC 3339 or seconds since 1970 (default: $SOURCE_DATE_EPOCH, else now)
    #[arg(long, value_name = "TIME")]
    pub(crate) created: Option<String>,
    /// Accept absolute names and `..` in the tar
    #[arg(long)]
    pub(crate) allow_unsafe_names: bool,
}

pub(crate) fn run(args: &ImportArgs, run: &Run) -> Result<Outcome> {
    if args.file.starts_with("http://") || args.file.starts_with("https://") {
        let what = "import reads files and standard input; fetch the URL first";
        return Err(Error::new(Kind::Usage, what).input(args.file.clone()));
    }
    let name = match &args.name {
        Some(text) => Some(imgpack::images::typed_name(text).map_err(|e| e.kind_as(Kind::Usage))?),
        None => None,
    };
    let facts = Facts {
        name,
        changes: imgpack::import::changes(&args.change)?,
        message: args.message.clone().unwrap_or_else(|| "Imported from -".into()),
        platform: match &args.platform {
            Some(text) => text.parse()?,
            None => Platform::host(),
        },
        created: created(args.created.as_deref())?,
        unsafe_names: args.allow_unsafe_names,
    };
    if args.file == "-" && std::io::stdin().is_terminal() {
        return Err(Error::new(Kind::Usage, "no tar on standard input"));
    }
    let tar: Box<dyn Read + Send> = match args.file.as_str() {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(imgpack::io::open_input(path.as_ref())?),
    };
    let place = if args.file == "-" { "standard input" } else { &args.file }.to_owned();
    let from = Images::Imported { tar, place, facts: Box::new(facts) };
    let ready = Transfer::new(from, Place::store(), Policy::default()).prepare(run.env())?;
    let report = run.copy(ready)?;
    for image in &report.published {
        out::line(&image.image_id.unwrap_or(image.target.digest).to_string())?;
    }
    Ok(Outcome::Done)
}

/// Creation time as RFC 3339 in UTC: the flag, $SOURCE_DATE_EPOCH, or now.
fn created(flag: Option<&str>) -> Result<String> {
    let bad = |text: &str| {
        let text = imgpack::text::escape(text);
        Error::new(
            Kind::Usage,
            format!("invalid time {text:?}: expected RFC 3339 or seconds since 1970"),
        )
    };
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
    let time = match flag.or(epoch.as_deref()) {
        None => OffsetDateTime::now_utc(),
        Some(text) => match text.parse::<i64>() {
            Ok(seconds) => OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| bad(text))?,
            Err(_) => OffsetDateTime::parse(text, &Rfc3339).map_err(|_| bad(text))?,
        },
    };
    time.to_offset(time::UtcOffset::UTC).format(&Rfc3339).map_err(|_| bad("created"))
}
