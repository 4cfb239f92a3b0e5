//! The verbs as the command line reads them.
//!
//! Only this file knows all of them; what a verb does is in its own file.

use clap::{Parser, Subcommand};
use imgpack::Result;
use imgpack::transport::registry::Network;

use super::args::Global;
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
  imgpack ls nginx.tar                  list an archive without loading it
  imgpack verify /media/usb/*.tar       check every byte, before and after a journey
  imgpack copy nginx.tar oci:layout     convert between archives and directories
  imgpack push nginx:1 registry.local:5000/web/nginx:1             send an image to a registry
  imgpack sync registry-to-dir -f images.txt /media/usb/images     copy many images at once

Every flag can also be set by the environment variable IMGPACK_<FLAG> or in the configuration file
($IMGPACK_CONFIG, else ~/.config/imgpack/config.toml)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
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
    /// Pull images from registries into the store
    Pull(PullArgs),
    /// Push images to a registry
    Push(PushArgs),
    /// List the tags of a repository
    #[command(visible_alias = "list-tags")]
    Tags(TagsArgs),
    /// Show the digest of a name in a registry
    Digest(DigestArgs),
    /// Find repositories in a registry
    Search(SearchArgs),
    /// Delete tags or images from a registry
    Delete(DeleteArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove images from the store
    Rmi(RmiArgs),
    /// Remove blobs that no image of the store uses
    Prune(PruneArgs),
    /// Copy images from any place to any place
    Copy(CopyArgs),
    /// Copy many images from one place to another
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
    /// Log out of a registry
    Logout(LogoutArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

impl Verb {
    /// Whether blobs that the target already has are hashed.
    pub(crate) fn rechecks(&self) -> bool {
        match self {
            Self::Copy(args) => args.changes.recheck,
            Self::Load(args) => args.changes.recheck,
            Self::Push(args) => args.changes.recheck,
            Self::Pull(args) => args.changes.recheck,
            Self::Sync(args) => args.course.recheck,
            _ => false,
        }
    }

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
