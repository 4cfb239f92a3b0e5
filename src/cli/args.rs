//! What can be typed: verbs and flags, in docker's and skopeo's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use imgpack::Result;
use imgpack::transport::registry::Network;

use super::login::{LoginArgs, LogoutArgs};
use super::pull::PullArgs;
use super::push::PushArgs;
use super::registries::{RegistryFlags, SideFlags};
use super::remote::{DeleteArgs, DigestArgs, SearchArgs, TagsArgs};
use super::run::Run;

use super::serve::ServeArgs;
use super::sync::args::SyncArgs;

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
    /// Docker up to 20.10: layers must be plain or gzip
    Docker20,
    /// Docker 23 and later
    Docker,
    /// podman: layers plain or gzip, no sparse index
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

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack save -o nginx.tar nginx:1.27
  imgpack save -o all.tar.zst nginx redis:7 4f06b0d5c1f7
  imgpack save nginx | docker load
  imgpack save -o nginx.tar docker-daemon:nginx:1.27
  imgpack save --platform linux/arm64 --for k3s -o node.tar nginx:1.27")]
pub(crate) struct SaveArgs {
    /// Images, by name, ID or the start of an ID; or of one engine, as docker-daemon:NAME
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Write to FILE instead of standard output; .gz and .zst compress the whole archive
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite FILE
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Which tables the archive carries
    #[arg(long, value_name = "FORMAT", default_value = "union")]
    pub(crate) format: ArchiveFormat,
    /// Check and adapt the archive for an engine
    #[arg(long = "for", value_name = "ENGINE")]
    pub(crate) consumer: Option<Consumer>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack load -i nginx.tar
  docker save nginx | imgpack load
  imgpack load -i all.tar.zst --prefix registry.local/mirror
  imgpack load -i all.tar.zst --into docker-daemon:
  imgpack load -i node.tar --into containerd: --containerd-namespace k8s.io")]
pub(crate) struct LoadArgs {
    /// Read FILE (or a directory, or a place like oci:DIR) instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Load into this place instead of the store: docker-daemon:, podman:, containerd:, oci:DIR, …
    #[arg(long, value_name = "PLACE", default_value = "store:")]
    pub(crate) into: String,
    /// Put this registry and path before every name
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Name the image (the archive must hold just one)
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

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

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack export -o rootfs.tar nginx:1.27
  imgpack export nginx.tar | tar -tv")]
pub(crate) struct ExportArgs {
    /// An image of the store, or an archive or directory that holds one
    #[arg(value_name = "IMAGE|PLACE")]
    pub(crate) image: String,
    /// Write to FILE instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite FILE
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Which image of a multi-platform one
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack images
  imgpack images --digests --no-trunc
  imgpack images -q --filter reference='registry.local/*'
  imgpack images --format '{{.Repository}}:{{.Tag}} {{.Size}}'

SIZE is what the image's blobs take in the store: packed layers count as they are packed.")]
pub(crate) struct ImagesArgs {
    /// Only this repository, or repository and tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
    /// Also images that are only part of others (kept for docker's sake)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Whole IDs
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only what fits: dangling=, label=, before=, since=, reference=
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack inspect nginx.tar                     every image of an archive
  imgpack inspect --format json oci:layout      one line, stable for scripts
  imgpack inspect nginx:1.27                    an image of the store, as docker shows it
  imgpack inspect --format '{{.Config.Cmd}}' nginx:1.27
  imgpack inspect --format '{{.Digest}} {{.Os}}' docker://registry.local:5000/web/nginx:1.27

Of a place with one image a template sees docker's fields too, and skopeo's Name, Digest and Labels.")]
pub(crate) struct InspectArgs {
    /// Images of the store, or places
    #[arg(required = true, value_name = "IMAGE|PLACE")]
    pub(crate) targets: Vec<String>,
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Only images are here; taken for docker's sake
    #[arg(long = "type", value_name = "TYPE", hide = true, value_parser = ["image"])]
    pub(crate) _kind: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

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
    /// Only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Whole commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Sizes and dates for people
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) human: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack tag nginx:1.27 registry.local/web/nginx:1.27
  imgpack tag 4f06b0d5c1f7 nginx:stable")]
pub(crate) struct TagArgs {
    /// An image, by name or ID
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub(crate) source: String,
    /// The new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub(crate) target: String,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack rmi nginx:1.26
  imgpack rmi -f 4f06b0d5c1f7
  imgpack rmi $(imgpack images -q --filter dangling=true)")]
pub(crate) struct RmiArgs {
    /// Images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Remove an image although it has several names
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Keep the blobs; `prune` removes them later
    #[arg(long)]
    pub(crate) no_prune: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack prune --dry-run
  imgpack prune
  imgpack prune -a")]
pub(crate) struct PruneArgs {
    /// Also remove untagged images
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask (nothing is asked; kept for docker's sake)
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Places:
  docker-archive:FILE[:NAME]   oci-archive:FILE[:NAME]   oci:DIR[:NAME]   dir:DIR   store:[NAME]
  docker://NAME                a registry
  docker-daemon:[NAME]   podman:[NAME]   containerd:[NAME]    an engine of this machine
  or a bare path, recognised by what it is (written: by its ending .tar, .tar.gz, .tar.zst)

Examples:
  imgpack copy nginx.tar oci:layout:nginx:1.27
  imgpack copy --compress gzip docker-archive:nginx.tar oci:layout
  imgpack copy oci:layout:nginx:1.27 nginx.tar
  imgpack copy store:nginx:1.27 dir:nginx
  imgpack copy docker-daemon:nginx:1.27 containerd:
  imgpack copy docker://quay.io/a/b:1 docker://registry.local:5000/a/b:1")]
pub(crate) struct CopyArgs {
    /// Where from
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Where to
    #[arg(value_name = "DST")]
    pub(crate) target: String,
    /// All images of the source (the default when none is named)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Write the digest of what was copied to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) digestfile: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Which tables an archive carries
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ArchiveFormat>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Send a registry every byte as it is: no layer of a Docker archive becomes gzip
    #[arg(long, conflicts_with = "compress")]
    pub(crate) preserve_digests: bool,
    #[command(flatten)]
    pub(crate) sides: SideFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack verify nginx.tar
  imgpack verify /media/usb/*.tar oci:layout
  imgpack verify store:
  imgpack verify --format json nginx.tar      one record for each place

Exit code: 0 sound, 3 damaged; each damaged blob is named with its place and the images that need it.")]
pub(crate) struct VerifyArgs {
    /// Archives, directories, or store:
    #[arg(required = true, value_name = "PLACE")]
    pub(crate) places: Vec<String>,
    /// Do not unpack layers to check their diff ids
    #[arg(long)]
    pub(crate) no_unpack_check: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// table or json
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

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
    /// Whole IDs
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack diff nginx:1.26 nginx:1.27
  imgpack diff nginx.tar oci:layout
  imgpack diff --no-files --format json old.tar new.tar

Exit code: 0 same, 1 different, 2 and more: could not be compared.")]
pub(crate) struct DiffArgs {
    /// An image of the store, or a place
    #[arg(value_name = "A")]
    pub(crate) a: String,
    /// Another
    #[arg(value_name = "B")]
    pub(crate) b: String,
    /// Which image of multi-platform ones
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Do not compare files, only layers and config
    #[arg(long)]
    pub(crate) no_files: bool,
    /// text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: String,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack completions bash > ~/.local/share/bash-completion/completions/imgpack
  imgpack completions zsh > ~/.zfunc/_imgpack
  imgpack completions fish > ~/.config/fish/completions/imgpack.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack man | man -l -
  imgpack man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write a page for every verb into DIR instead
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
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
