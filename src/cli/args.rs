//! Flags that several or all verbs share.
//!
//! Flags of a single verb are in its own file. Their names are docker's and skopeo's.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use imgpack::transfer::Consumer;
use imgpack::transport::archive::Halves;

/// Flags that every verb takes.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Directory of the local store
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) store: Option<PathBuf>,
    /// Blobs to transfer at once
    #[arg(short, long, global = true, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Global options")]
    pub(crate) jobs: u16,
    /// Be verbose; twice for details of every blob
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Append a log of the run to FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) log_file: Option<PathBuf>,
    /// How to show progress
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub(crate) progress: ProgressMode,
    /// Seconds to wait while another process uses the store
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 60,
        help_heading = "Global options"
    )]
    pub(crate) wait: u64,
    /// Directory for temporary files that cannot lie next to the target
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) tmpdir: Option<PathBuf>,
    /// Do not flush to disk before reporting success (for tests)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_sync: bool,
    /// Address of the Docker engine: unix:///PATH or tcp://HOST:PORT (default: $DOCKER_HOST)
    #[arg(
        long,
        global = true,
        value_name = "URL",
        hide_short_help = true,
        help_heading = "Engines"
    )]
    pub(crate) docker_host: Option<String>,
    /// Socket of containerd (default: $CONTAINERD_ADDRESS, else that of containerd or k3s)
    #[arg(
        long,
        global = true,
        value_name = "SOCKET",
        hide_short_help = true,
        help_heading = "Engines"
    )]
    pub(crate) containerd_address: Option<String>,
    /// Namespace in containerd; Kubernetes uses k8s.io (default: $CONTAINERD_NAMESPACE, else default)
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        hide_short_help = true,
        help_heading = "Engines"
    )]
    pub(crate) containerd_namespace: Option<String>,
    /// Maximum unpacked size of a layer, in bytes
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 64 << 30, hide_short_help = true, help_heading = "Limits")]
    pub(crate) max_layer_size: u64,
    /// Maximum zstd window or xz dictionary, in bytes
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 128 << 20, hide_short_help = true, help_heading = "Limits")]
    pub(crate) max_window: u64,
    /// Maximum number of images in one place
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 10_000,
        hide_short_help = true,
        help_heading = "Limits"
    )]
    pub(crate) max_images: usize,
    /// Maximum number of members in one archive
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 1_000_000,
        hide_short_help = true,
        help_heading = "Limits"
    )]
    pub(crate) max_members: usize,
    /// Which table to use when manifest.json and index.json disagree
    #[arg(long, global = true, value_name = "TABLE", help_heading = "Reading archives")]
    pub(crate) prefer: Option<PreferFlag>,
    /// Keep images whose tag is invalid, untagged
    #[arg(long, global = true, help_heading = "Reading archives")]
    pub(crate) ignore_bad_tags: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, plain lines otherwise
    Auto,
    /// One line for each image
    Plain,
    /// JSON lines on standard error
    Json,
    /// Nothing
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PreferFlag {
    /// manifest.json
    Docker,
    /// index.json
    Oci,
}

/// Which tables an archive carries.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum ArchiveFormat {
    /// Docker's and OCI's tables: every engine finds its own
    Union,
    /// manifest.json only
    Docker,
    /// index.json only
    Oci,
}

impl From<ArchiveFormat> for Halves {
    fn from(format: ArchiveFormat) -> Self {
        match format {
            ArchiveFormat::Union => Self::Union,
            ArchiveFormat::Docker => Self::Docker,
            ArchiveFormat::Oci => Self::Oci,
        }
    }
}

/// Who will load the archive, by the names and words of the library.
pub(crate) fn consumers() -> impl TypedValueParser<Value = Consumer> {
    let known = Consumer::all().map(|one| PossibleValue::new(one.name()).help(one.about()));
    PossibleValuesParser::new(known).try_map(|name| name.parse::<Consumer>())
}

/// What may change on the way.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Keep only images for these platforms (OS/ARCH[/VARIANT], comma separated)
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Recompress layers: gzip, zstd or none, with an optional level (gzip:9)
    #[arg(long, value_name = "ENCODING[:LEVEL]")]
    pub(crate) compress: Option<String>,
    /// Do not unpack layers to check their diff ids, unless nothing else records what they are
    #[arg(long)]
    pub(crate) no_unpack_check: bool,
    /// Hash the blobs that the target already has and replace wrong ones; a registry is asked for each
    #[arg(long)]
    pub(crate) recheck: bool,
    /// Continue with the other images when one fails (exit 9)
    #[arg(long)]
    pub(crate) keep_going: bool,
}
