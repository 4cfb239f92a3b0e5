//! The flags of `sync`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::registries::SideFlags;

#[derive(Args, Debug)]
#[command(
    override_usage = "imgpack sync MODE [OPTIONS] [SRC] DST\n       \
                      imgpack sync --src TRANSPORT --dest TRANSPORT [OPTIONS] SRC DST",
    after_help = "\
Modes:
  registry-to-dir   dir-to-registry   registry-to-registry   dir-to-dir
  archive-to-registry   registry-to-archive    archive-to-dir
A destination directory becomes one OCI layout. A source directory may also be a folder of archives,
layouts or skopeo directories.

A list has one of these on each line; SRC is one of them, quoted for the shell. A name without a tag
means the tag latest in a list, and all tags as SRC:
  nginx:1.27   nginx@sha256:...   nginx:1.*   nginx:>=1.2 <2   nginx:/^1\\.[0-9]+$/   quay.io/*

Examples:
  imgpack sync registry-to-dir -f images.txt ./usb
  imgpack sync registry-to-dir quay.io/coreos/etcd:v3.5.9 ./usb
  imgpack sync dir-to-registry ./usb registry.local:5000
  imgpack sync dir-to-registry ./usb registry.local:5000/mirror --emit containerd ./nodes
  imgpack sync registry-to-registry -f sync.yaml registry.local:5000 --dry-run
  imgpack sync archive-to-registry images.tar registry.local:5000
  imgpack sync --src yaml --dest docker sync.yaml registry.local:5000/repo

Exit code: 0 when everything was copied, 9 when some images failed, 8 when the admission policy refused
all; when all failed, that of the first error."
)]
pub(crate) struct SyncArgs {
    /// MODE, SRC and DST; SRC may be omitted when a list names the images of registries
    #[arg(required = true, num_args = 1..=3, value_name = "MODE SRC DST", hide = true)]
    pub(crate) words: Vec<String>,
    /// Transport of the source, as in skopeo
    #[arg(short, long, value_name = "TRANSPORT", requires = "dest")]
    pub(crate) src: Option<SourceKind>,
    /// Transport of the destination, as in skopeo
    #[arg(short, long, value_name = "TRANSPORT", requires = "src")]
    pub(crate) dest: Option<To>,
    #[command(flatten)]
    pub(crate) which: ImageFlags,
    #[command(flatten)]
    pub(crate) names: NameFlags,
    #[command(flatten)]
    pub(crate) intake: AdmissionFlags,
    #[command(flatten)]
    pub(crate) course: RunFlags,
    #[command(flatten)]
    pub(crate) sides: SideFlags,
}

/// Which images.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which images")]
pub(crate) struct ImageFlags {
    /// Read a list: references, hauler's Images, or skopeo's sync YAML
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Take the images named in Kubernetes YAML or rendered charts
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) from_k8s: Vec<PathBuf>,
    /// Take the images named in a Compose file
    #[arg(long, value_name = "FILE")]
    pub(crate) from_compose: Vec<PathBuf>,
    /// Also take what looks like an image in arguments and variables of Kubernetes YAML
    #[arg(long)]
    pub(crate) guess: bool,
    /// Keep only images for these platforms (OS/ARCH[/VARIANT], comma separated)
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Take all tags of names listed without a tag
    #[arg(long, conflicts_with = "semver")]
    pub(crate) all_tags: bool,
    /// Take the tags in RANGE of names listed without a tag
    #[arg(long, value_name = "RANGE")]
    pub(crate) semver: Option<String>,
    /// Take everything in the registry SRC
    #[arg(long)]
    pub(crate) catalog: bool,
    /// Replay a lock file: exactly these digests
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "from_k8s", "from_compose", "retry"])]
    pub(crate) lock: Option<PathBuf>,
    /// Take only what failed, according to the report of an earlier run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "from_k8s", "from_compose"])]
    pub(crate) retry: Option<PathBuf>,
    /// Do not copy signatures, attestations and other referrers
    #[arg(long)]
    pub(crate) no_companions: bool,
}

/// What images are called at the destination.
#[derive(Args, Debug)]
#[command(next_help_heading = "Names at the destination")]
pub(crate) struct NameFlags {
    /// Prefix every name with a path
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Remove N components, or the components PREFIX, from the start of every path
    #[arg(long, value_name = "N|PREFIX")]
    pub(crate) strip: Vec<String>,
    /// Replace a registry or the start of a name; the longest match wins
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) map: Vec<String>,
    /// Pattern for every name: {registry} {repository} {name} {tag} {digest}
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["prefix", "strip", "map"])]
    pub(crate) rename: Option<String>,
    /// Keep the registry as part of the path
    #[arg(long)]
    pub(crate) scoped: bool,
    /// Append SUFFIX to every tag
    #[arg(long, value_name = "SUFFIX", allow_hyphen_values = true)]
    pub(crate) append_suffix: Option<String>,
}

/// What may come in.
#[derive(Args, Debug)]
#[command(next_help_heading = "Admission")]
pub(crate) struct AdmissionFlags {
    /// Admit only images whose name matches (docker.io/library/*, quay.io/**)
    #[arg(long, value_name = "GLOB")]
    pub(crate) allow: Vec<String>,
    /// Admit only images with a cosign signature by a key in FILE (PEM, ECDSA P-256)
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_key: Vec<PathBuf>,
}

/// How the run goes, and what it leaves.
#[derive(Args, Debug)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunFlags {
    /// Print the plan and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Continue when an image fails (the default; exit 9)
    #[arg(long, conflicts_with = "fail_fast")]
    pub(crate) keep_going: bool,
    /// Stop at the first failure, and publish nothing
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Remove images under DST that are not in the list
    #[arg(long)]
    pub(crate) delete: bool,
    /// Remove them even when the source has less than half of what DST has, or nothing
    #[arg(long, requires = "delete")]
    pub(crate) delete_most: bool,
    /// Do not ask before removing
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Write a report to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write a lock file: every reference with its digest
    #[arg(long, value_name = "FILE")]
    pub(crate) lock_out: Option<PathBuf>,
    /// Write node configuration into DIR, for containerd, podman, docker, k3s, kaniko or kustomize
    #[arg(long, value_names = ["FORM", "DIR"], num_args = 2)]
    pub(crate) emit: Vec<String>,
    /// Recompress layers: gzip, zstd or none, with an optional level (gzip:9)
    #[arg(long, value_name = "ENCODING[:LEVEL]")]
    pub(crate) compress: Option<String>,
    /// Also unpack layers to check their diff ids; digests are always checked, and diff ids where an
    /// archive records no digests
    #[arg(long)]
    pub(crate) unpack_check: bool,
    /// Look at every blob at the destination: hash those of a directory, ask a registry for each
    #[arg(long)]
    pub(crate) recheck: bool,
    /// Do not gzip the uncompressed layers of a Docker archive for a registry
    #[arg(long, conflicts_with = "compress")]
    pub(crate) preserve_digests: bool,
    /// Overwrite an existing archive
    #[arg(long)]
    pub(crate) force: bool,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: String,
    /// Print only errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Accepted for compatibility with skopeo: all platforms are the default
    #[arg(short, long, hide = true)]
    pub(crate) all: bool,
}

/// Transports of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceKind {
    /// A registry, a repository or an image
    Docker,
    /// A directory
    Dir,
    /// A sync file
    Yaml,
    /// An OCI layout
    Oci,
    /// An archive
    #[value(alias = "docker-archive", alias = "oci-archive")]
    Archive,
}

/// Transports of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// A registry
    Docker,
    /// A directory, written as an OCI layout
    #[value(alias = "oci")]
    Dir,
    /// An archive
    #[value(alias = "docker-archive", alias = "oci-archive")]
    Archive,
}
