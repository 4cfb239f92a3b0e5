//! One run: its context, its store, its listeners; made from the global flags.

use std::path::PathBuf;
use std::sync::Arc;

use imgpack::context::Limits;
use imgpack::copy::{Policy, Report};
use imgpack::io::scratch::Scratch;
use imgpack::layout::{Prefer, Reading};
use imgpack::transfer::Ready;
use imgpack::transport::daemon::Engines;
use imgpack::transport::registry::Network;
use imgpack::transport::store::Store;
use imgpack::transport::table::Env;
use imgpack::{Context, Error, Kind, Result};

use super::args::{self, Changes, Global};
use super::log::Log;
use super::progress::Renderer;
use super::signals::Signals;

/// Everything a verb needs.
pub(crate) struct Run {
    env: Env,
    signals: Signals,
    renderer: Arc<Renderer>,
    log: Option<Arc<Log>>,
}

impl Run {
    /// Sets a run up.
    ///
    /// # Errors
    /// `Usage`, `Io`.
    pub(crate) fn start(global: &Global) -> Result<Self> {
        let signals = Signals::listen()?;
        if global.jobs == 1 {
            // One job is one thread: this one. A pool that exists already is as good.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
            let _ = pool.build_global();
        }
        let log = match &global.log_file {
            Some(path) => Some(Arc::new(Log::open(path)?)),
            None => None,
        };
        let renderer = Arc::new(Renderer::new(global.progress, global.verbose, log.clone()));
        let limits = Limits {
            stream: imgpack::layer::StreamLimits {
                max_output: global.max_layer_size,
                max_window: global.max_window,
            },
            images: global.max_images,
            members: global.max_members,
        };
        let ctx = Context {
            progress: renderer.clone(),
            cancel: signals.cancel.clone(),
            jobs: usize::from(global.jobs),
            limits,
            sync: !global.no_sync,
            recheck: false,
            wait: global.wait,
            followed: Arc::default(),
            digests: Arc::default(),
        };
        let reading = Reading {
            prefer: global.prefer.map(|p| match p {
                args::PreferFlag::Docker => Prefer::Docker,
                args::PreferFlag::Oci => Prefer::Oci,
            }),
            ignore_bad_tags: global.ignore_bad_tags,
        };
        let store = global.store.clone().unwrap_or_else(default_store);
        let temporary = global.tmpdir.clone().unwrap_or_else(default_temporary);
        let engines = engines(global);
        let network = Network::default();
        let env = Env { store, temporary, reading, engines, network, force: false, ctx };
        Ok(Self { env, signals, renderer, log })
    }

    /// Says whether blobs that a target has are hashed.
    pub(crate) fn recheck(&mut self, recheck: bool) {
        self.env.ctx.recheck = recheck;
    }

    /// Says how registries are reached.
    pub(crate) fn reach(&mut self, network: Network) {
        self.env.network = network;
    }

    /// What opening places needs.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// The same, overwriting files or not.
    pub(crate) fn env_forcing(&self, force: bool) -> Env {
        Env { force, ..self.env.clone() }
    }

    /// The context of the run.
    pub(crate) fn ctx(&self) -> &Context {
        &self.env.ctx
    }

    /// The local store.
    pub(crate) fn store(&self) -> Store {
        Store::new(&self.env.store, &self.env.ctx)
    }

    /// Scratch space where none lies beside a target.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn scratch(&self) -> Result<Arc<Scratch>> {
        self.env.scratch()
    }

    /// Gives the run longer to end in good order after a signal.
    pub(crate) fn wait_longer(&self, more: std::time::Duration) {
        self.signals.wait_longer(more);
    }

    /// The exit code of the signal that stopped the run.
    pub(crate) fn signal(&self) -> Option<u8> {
        self.signals.code()
    }

    /// Copies, then clears the bar, so that what is printed next stands on a line of its own.
    ///
    /// # Errors
    /// Those of [`Ready::run`].
    pub(crate) fn copy(&self, ready: Ready) -> Result<Report> {
        let report = ready.run(self.ctx());
        self.finish();
        report
    }

    /// Removes progress bars from the terminal.
    pub(crate) fn finish(&self) {
        self.renderer.finish();
    }

    /// Notes a line in the log file.
    pub(crate) fn log(&self, line: &str) {
        if let Some(log) = &self.log {
            log.line(line);
        }
    }

    /// A policy from the flags of a verb.
    ///
    /// # Errors
    /// `Usage`.
    pub(crate) fn policy(&self, changes: &Changes) -> Result<Policy> {
        let platforms = changes.platform.iter().map(|p| p.parse()).collect::<Result<_>>()?;
        let compress = match &changes.compress {
            Some(text) => Some(text.parse().map_err(|e: Error| e.kind_as(Kind::Usage))?),
            None => None,
        };
        Ok(Policy {
            platforms,
            compress,
            unpack: !changes.no_unpack_check,
            keep_going: changes.keep_going,
            ..Policy::default()
        })
    }
}

/// Where the engines are: flags first, then what their own clients read.
fn engines(global: &Global) -> Engines {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let given = |flag: &Option<String>, name: &str| flag.clone().or_else(|| set(name));
    let certificates = set("DOCKER_CERT_PATH").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    Engines {
        docker_host: given(&global.docker_host, "DOCKER_HOST"),
        docker_tls: set("DOCKER_TLS_VERIFY").or_else(|| set("DOCKER_TLS")).is_some(),
        docker_cert_path: certificates.or_else(home),
        containerd_address: given(&global.containerd_address, "CONTAINERD_ADDRESS"),
        containerd_namespace: given(&global.containerd_namespace, "CONTAINERD_NAMESPACE"),
    }
}

fn default_store() -> PathBuf {
    let base = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    base.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".local/share")
    })
    .join("imgpack/store")
}

/// $TMPDIR, or /tmp; a directory that does not exist is skipped.
fn default_temporary() -> PathBuf {
    let wanted = std::env::var_os("TMPDIR").map(PathBuf::from);
    wanted
        .into_iter()
        .chain(["/var/tmp".into(), "/tmp".into()])
        .find(|p| p.is_dir())
        .unwrap_or_else(|| ".".into())
}
