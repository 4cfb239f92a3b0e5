//! What can be typed: the verbs, and the flags that all of them or several take.
//!
//! What one verb alone takes stands beside it, in its own file. The words are docker's and skopeo's.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use imgpack::Result;
use imgpack::transport::registry::Network;

use super::copy::CopyArgs;
use super::diff::DiffArgs;
use super::export::ExportArgs;
use super::history::HistoryArgs;
use super::images::ImagesArgs;
use super::import::ImportArgs;
use super::inspect::InspectArgs;
use super::load::LoadArgs;
use super::login::{LoginArgs, LogoutArgs};
use super::ls::LsArgs;
use super::manual::{CompletionsArgs, ManArgs};
use super::prune::PruneArgs;
use super::pull::PullArgs;
use super::push::PushArgs;
use super::remote::{DeleteArgs, DigestArgs, SearchArgs, TagsArgs};
use super::rmi::RmiArgs;
use super::run::Run;
use super::save::SaveArgs;
use super::serve::ServeArgs;
use super::sync::args::SyncArgs;
use super::tag::TagArgs;
use super::verify::VerifyArgs;

/// Container image archives for offline environments.
#[derive(Parser, Debug)]
#[command(
    name = "imgpack",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  imgpack load -i nginx.tar             load any image archive into the local store
  imgpack save -o nginx.tar nginx:1     write an archive that every engine loads
  imgpack ls nginx.tar                  what is in an archive, without loading it
  imgpack verify /media/usb/*.tar       check every byte before and after a journey
  imgpack copy nginx.tar oci:layout     convert between archives and directories
  imgpack push nginx:1 registry.local:5000/web/nginx:1       to a registry; pull is the way back
  imgpack sync registry-to-dir -f images.txt /media/usb/images     many images at once

Every flag can be set by an environment variable IMGPACK_<FLAG> and in the configuration file
($IMGPACK_CONFIG, else ~/.config/imgpack/config.toml)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that every verb takes.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Directory of the local store
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) store: Option<PathBuf>,
    /// Blobs in flight at once
    #[arg(short, long, global = true, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Global options")]
    pub(crate) jobs: u16,
    /// Say more; twice for details of every blob
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Append a log of the run to FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) log_file: Option<PathBuf>,
    /// How progress is shown
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub(crate) progress: ProgressMode,
    /// Seconds to wait for another process that uses the store
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 60,
        help_heading = "Global options"
    )]
    pub(crate) wait: u64,
    /// Directory for scratch files where none lies beside the target
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) tmpdir: Option<PathBuf>,
    /// Do not flush to the medium before reporting success (for tests)
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_sync: bool,
    /// Where docker's engine listens: unix:///PATH or tcp://HOST:PORT (default: $DOCKER_HOST)
    #[arg(
        long,
        global = true,
        value_name = "URL",
        hide_short_help = true,
        help_heading = "Engines"
    )]
    pub(crate) docker_host: Option<String>,
    /// containerd's socket (default: $CONTAINERD_ADDRESS, else containerd's or k3s's own)
    #[arg(
        long,
        global = true,
        value_name = "SOCKET",
        hide_short_help = true,
        help_heading = "Engines"
    )]
    pub(crate) containerd_address: Option<String>,
    /// containerd's namespace; Kubernetes uses k8s.io (default: $CONTAINERD_NAMESPACE, else default)
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        hide_short_help = true,
        help_heading = "Engines"
    )]
    pub(crate) containerd_namespace: Option<String>,
    /// Most bytes one layer may unpack to
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 64 << 30, hide_short_help = true, help_heading = "Limits")]
    pub(crate) max_layer_size: u64,
    /// Largest zstd window or xz dictionary accepted, in bytes
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 128 << 20, hide_short_help = true, help_heading = "Limits")]
    pub(crate) max_window: u64,
    /// Most images in one place
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 10_000,
        hide_short_help = true,
        help_heading = "Limits"
    )]
    pub(crate) max_images: usize,
    /// Most members of one archive
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 1_000_000,
        hide_short_help = true,
        help_heading = "Limits"
    )]
    pub(crate) max_members: usize,
    /// Which table to believe when manifest.json and index.json disagree
    #[arg(long, global = true, value_name = "TABLE", help_heading = "Reading archives")]
    pub(crate) prefer: Option<Prefer>,
    /// Keep images whose tag breaks the grammar, untagged
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
pub(crate) enum Prefer {
    /// manifest.json
    Docker,
    /// index.json
    Oci,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Save images of the store, or of an engine, to an archive
    Save(SaveArgs),
    /// Load images from an archive into the store, or into an engine
    Load(LoadArgs),
    /// Make an image from a root file system tar
    Import(ImportArgs),
    /// Write the flattened file system of an image as a tar
    Export(ExportArgs),
    /// List images of the store
    Images(ImagesArgs),
    /// Show what an image or a place holds, as JSON
    Inspect(InspectArgs),
    /// Pull images of registries into the store
    Pull(PullArgs),
    /// Push images to a registry
    Push(PushArgs),
    /// List the tags of a repository
    #[command(visible_alias = "list-tags")]
    Tags(TagsArgs),
    /// Show the digest that a name has in a registry
    Digest(DigestArgs),
    /// Find repositories in a registry
    Search(SearchArgs),
    /// Delete tags or images of a registry
    Delete(DeleteArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Give an image one more name
    Tag(TagArgs),
    /// Remove images from the store
    Rmi(RmiArgs),
    /// Remove blobs that no image of the store uses
    Prune(PruneArgs),
    /// Copy images from any place to any place
    Copy(CopyArgs),
    /// Bring many images from one place to another
    Sync(Box<SyncArgs>),
    /// Serve images as a registry, from where they lie
    Serve(Box<ServeArgs>),
    /// Check every size, digest and diff id
    Verify(VerifyArgs),
    /// List the images of an archive or directory, without loading it
    Ls(LsArgs),
    /// Show what differs between two images
    Diff(DiffArgs),
    /// Log in to a registry
    Login(LoginArgs),
    /// Forget the login to a registry
    Logout(LogoutArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
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

/// Who will load the archive.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Consumer {
    /// Docker up to 20.10: no zstd layers
    Docker20,
    /// Docker 23 and later
    Docker,
    /// podman: no sparse index
    Podman,
    /// ctr and nerdctl: names required, no sparse index
    Containerd,
    /// k3s and RKE2: names required, no sparse index
    K3s,
}

/// What may change on the way.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Keep only images for these platforms (OS/ARCH[/VARIANT], comma separated)
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Recode layers: gzip, zstd or none, with an optional level (gzip:9)
    #[arg(long, value_name = "ENCODING[:LEVEL]")]
    pub(crate) compress: Option<String>,
    /// Do not unpack layers to check their diff ids
    #[arg(long)]
    pub(crate) no_unpack_check: bool,
    /// Go on with the sound images when others fail (exit 9)
    #[arg(long)]
    pub(crate) keep_going: bool,
}

impl Verb {
    /// How the registries that the verb may name are reached; nothing for verbs that name none.
    ///
    /// # Errors
    /// `Usage` when a flag cannot be understood.
    pub(crate) fn network(&self, run: &Run) -> Result<Option<Network>> {
        let flags = match self {
            Self::Copy(args) => return args.sides.network(run).map(Some),
            Self::Sync(args) => return args.sides.network(run).map(Some),
            Self::Save(args) => &args.registry,
            Self::Load(args) => &args.registry,
            Self::Export(args) => &args.registry,
            Self::Inspect(args) => &args.registry,
            Self::History(args) => &args.registry,
            Self::Verify(args) => &args.registry,
            Self::Ls(args) => &args.registry,
            Self::Diff(args) => &args.registry,
            Self::Pull(args) => &args.registry,
            Self::Push(args) => &args.registry,
            Self::Tags(args) => &args.registry,
            Self::Digest(args) => &args.registry,
            Self::Search(args) => &args.registry,
            Self::Delete(args) => &args.registry,
            _ => return Ok(None),
        };
        Ok(Some(Network::new(flags.settings(run)?, None)))
    }
}
