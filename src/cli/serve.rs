//! `serve`: a registry over what is there.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use imgpack::reference::{DEFAULT_DOMAIN, is_domain};
use imgpack::serve::names::Naming;
use imgpack::serve::places::{self, Places};
use imgpack::serve::{Registry, http};
use imgpack::transport::table::{Place, Scheme};
use imgpack::{Error, Kind, Result};

use super::out;
use super::run::Run;

/// Seconds between two looks at the places.
const WATCH: u64 = 2;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imgpack serve /media/usb                      what lies there, to this machine
  imgpack serve --listen 0.0.0.0:5000 ngx.tar   to the network
  imgpack serve                                 the local store

Nothing is unpacked or copied: layers are sent from where they lie. An image of docker.io is pulled
as localhost:5000/library/nginx, one of quay.io as localhost:5000/quay.io/coreos/etcd.")]
pub(crate) struct ServeArgs {
    /// Layouts, archives, folders of these; the store when none is named
    #[arg(value_name = "PLACE")]
    places: Vec<String>,
    /// Listen here; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    listen: Vec<String>,
    /// The registry that names without one belong to
    #[arg(long, value_name = "HOST", default_value = DEFAULT_DOMAIN)]
    default_namespace: String,
}

pub(crate) fn run(args: &ServeArgs, run: &Run) -> Result<u8> {
    if !is_domain(&args.default_namespace) {
        let what = "--default-namespace: not a registry";
        return Err(Error::new(Kind::Usage, what).input(args.default_namespace.clone()));
    }
    let ctx = run.ctx();
    let mut wanted = Vec::new();
    for place in &args.places {
        wanted.push(Place::parse(place)?);
    }
    if wanted.is_empty() {
        wanted.push(Place { scheme: Scheme::Store, path: Default::default(), image: None });
    }
    let scratch = Scratches::new(run);
    let places = Places::open(wanted, run.env().clone(), Box::new(move || scratch.make()))?;
    let registry = Arc::new(Registry::new(Naming::new(&args.default_namespace), ctx));
    places.publish(&registry);
    let settings = http::Settings { listen: args.listen.clone(), ..http::Settings::default() };
    std::thread::scope(|scope| {
        scope.spawn(|| places::watch(places, &registry, WATCH, ctx));
        http::serve(&registry, &settings, ctx, |addresses| say(addresses, &registry))
    })?;
    Ok(0)
}

/// Makes scratch directories without the run that they belong to.
struct Scratches(std::path::PathBuf);

impl Scratches {
    fn new(run: &Run) -> Self {
        Self(run.env().temporary.clone())
    }

    fn make(&self) -> Result<Arc<imgpack::io::scratch::Scratch>> {
        let dir = imgpack::io::dir::Dir::open(&self.0)?;
        Ok(Arc::new(imgpack::io::scratch::Scratch::create(dir)?))
    }
}

fn say(addresses: &[SocketAddr], registry: &Registry) {
    let repositories = registry.catalogue().repositories();
    for address in addresses {
        out::error_line(&format!("imgpack: listening on http://{address}"));
    }
    out::error_line(&format!("imgpack: serving {} repositories", repositories.len()));
}
