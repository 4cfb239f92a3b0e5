//! `serve`: a registry over places.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::Args;
use imgpack::io::digests::DigestCache;
use imgpack::reference::{DEFAULT_DOMAIN, is_domain};
use imgpack::serve::names::NameResolver;
use imgpack::serve::places::{self, Places};
use imgpack::serve::writable::{self, Validate, Writable};
use imgpack::serve::{Registry, http};
use imgpack::transport::table::{Env, Place, Scheme};
use imgpack::{Context, Error, Kind, Result};

use super::exit::Outcome;
use super::out;
use super::run::Run;
use super::signals::Signals;

mod access_log;
mod guard;
mod guide;
mod machine;
mod waits;

use guard::{Guard, GuardFlags};
use waits::Waits;

/// Seconds between two looks at the places.
const WATCH: u64 = 2;
/// How often it is looked whether certificates run out.
const RENEW: Duration = Duration::from_secs(12 * 3600);

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack serve /media/usb                      everything there, for this machine
  imgpack serve --listen 0.0.0.0:5000 ngx.tar   for the network
  imgpack serve                                 the local store
  imgpack serve --writable /srv/images          a registry to push to

Layers are sent straight from the place. Only an archive that is compressed as a whole is unpacked, at
every start. Pull an image of docker.io as localhost:5000/library/nginx, an image of quay.io as
localhost:5000/quay.io/coreos/etcd.")]
pub(crate) struct ServeArgs {
    /// Layouts, archives or folders of these (default: the store, unless --writable is given)
    #[arg(value_name = "PLACE")]
    places: Vec<String>,
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    listen: Vec<String>,
    /// Registry of names that do not include one
    #[arg(long, value_name = "HOST", default_value = DEFAULT_DOMAIN)]
    default_namespace: String,
    /// Accept pushes into this store; its images take precedence over those of the places
    #[arg(long, value_name = "DIR")]
    writable: Option<PathBuf>,
    /// Let clients delete tags, manifests and blobs
    #[arg(long, requires = "writable")]
    delete: bool,
    /// What must be present when a manifest is pushed
    #[arg(long, value_enum, default_value = "index-sparse", requires = "writable")]
    validate: Validation,
    /// Seconds to keep a blob that nothing refers to
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "writable")]
    grace: u64,
    /// Print the configuration with which an engine finds this server, and exit
    #[arg(long, value_name = "ENGINE")]
    print_config: Option<guide::GuidedEngine>,
    /// How to log requests on standard error
    #[arg(long, value_name = "HOW", default_value = "auto")]
    access_log: access_log::LogFormat,
    #[command(flatten)]
    guard: GuardFlags,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Validation {
    /// Everything that the manifest refers to
    Strict,
    /// Config and layers; an index may list absent manifests
    IndexSparse,
    /// Nothing
    None,
}

pub(crate) fn run(args: &ServeArgs, run: &Run) -> Result<Outcome> {
    if !is_domain(&args.default_namespace) {
        let what = "--default-namespace: not a registry";
        return Err(Error::new(Kind::Usage, what).input(args.default_namespace.clone()));
    }
    let ctx = run.ctx();
    let mut wanted = Vec::new();
    for place in &args.places {
        wanted.push(Place::parse(place)?);
    }
    if wanted.is_empty() && args.writable.is_none() {
        wanted.push(Place { scheme: Scheme::Store, path: Default::default(), image: None });
    }
    let host = args.print_config.is_some().then(|| expected(args)).transpose()?;
    let guard = match args.print_config {
        Some(_) => None,
        None => Some(Guard::new(&args.guard, run)?),
    };
    // A signal ends the taking of requests; those under way go on until `served` is set.
    let served = Context {
        cancel: Arc::default(),
        progress: Arc::new(Waits(ctx.progress.clone())),
        digests: Arc::new(DigestCache::open(args.guard.state_dir(), SystemTime::now)),
        ..ctx.clone()
    };
    // Before that, it ends what is being unpacked or hashed.
    let opening = Context { cancel: ctx.cancel.clone(), ..served.clone() };
    let env = Env { ctx: opening, ..run.env().clone() };
    // A running server holds the lock; for a configuration, the store is only read, if it exists.
    let (writable, looked_at) = match args.print_config {
        None => (args.writable.as_ref(), None),
        Some(_) => (None, args.writable.clone()),
    };
    let looked_at = looked_at.map(|path| Place { scheme: Scheme::Oci, path, image: None });
    wanted.extend(looked_at.filter(|place| place.source(&env, &|| env.scratch()).is_ok()));
    let mut places = Places::open(wanted, env)?.under(&served);
    let mut registry = Registry::new(NameResolver::new(&args.default_namespace), &served);
    if let Some(path) = writable {
        registry = registry.with_writable(Writable::open(path, args.rules(), &served)?);
    }
    let registry = Arc::new(registry);
    places.publish(&registry);
    let (Some(guard), None) = (guard, &host) else {
        let (Some(engine), Some(host)) = (args.print_config, host) else {
            return Ok(Outcome::Done);
        };
        let default = &args.default_namespace;
        let (notes, text) = guide::configuration(engine, &host, default, &args.guard, &registry);
        // The file alone goes to standard output, so that it can be sent to where it belongs.
        notes.iter().for_each(|note| out::error_line(&format!("imgpack: {note}")));
        out::print(&text)?;
        return Ok(Outcome::Done);
    };
    machine::raise_files();
    registry.status().set_authority(guard.authority.as_deref());
    let settings = http::ServerSettings {
        tls: guard.tls.clone(),
        access: guard.access.clone(),
        log: access_log::open(args.access_log),
        ..http::ServerSettings::new(args.listen.clone())?
    };
    let ready = |addresses: &[SocketAddr]| {
        let guarded = guard.access.guards_writes();
        for warning in guide::warnings(addresses, &args.guard, guarded, args.writable.is_some()) {
            ctx.warn(&warning);
        }
        guide::say(addresses, &args.guard, guard.fingerprint.as_deref(), &registry);
    };
    let hangup = Signals::hangup()?;
    run.wait_longer(settings.drain);
    std::thread::scope(|scope| {
        scope.spawn(|| places::watch(places, &registry, WATCH, ctx));
        scope.spawn(|| reload(&guard, &registry, &hangup, run));
        if let Some(writable) = registry.writable() {
            scope.spawn(|| writable.tend(ctx));
        }
        let done = http::serve(&registry, &settings, ctx, ready);
        served.cancel.store(true, Ordering::Relaxed);
        // Nothing is left to watch when no address could be listened on.
        ctx.cancel.store(true, Ordering::Relaxed);
        done
    })?;
    Ok(Outcome::Done)
}

fn expected(args: &ServeArgs) -> Result<String> {
    guide::expected(args.listen.first().map_or("", String::as_str))
}

/// Reads certificates, users and places again on SIGHUP; certificates also once in a while, since they
/// run out, and when the clock was set, since their dates are those of the clock.
fn reload(guard: &Guard<'_>, registry: &Registry, hangup: &AtomicBool, run: &Run) {
    const STEP: Duration = Duration::from_millis(200);
    let mut since = SystemTime::now();
    while run.ctx().check().is_ok() {
        std::thread::sleep(STEP);
        let asked = hangup.swap(false, Ordering::Relaxed);
        if asked || since.elapsed().map_or(true, |elapsed| elapsed > RENEW) {
            since = SystemTime::now();
            guard.reload(registry, run);
        }
        if asked {
            registry.look_again();
        }
    }
}

impl ServeArgs {
    fn rules(&self) -> writable::WriteSettings {
        let validate = match self.validate {
            Validation::Strict => Validate::Strict,
            Validation::IndexSparse => Validate::IndexSparse,
            Validation::None => Validate::None,
        };
        writable::WriteSettings {
            delete: self.delete,
            validate,
            grace: Duration::from_secs(self.grace),
        }
    }
}
