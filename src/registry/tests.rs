//! The client against small servers on loopback: who is asked what, and what is made of the answers.

pub(crate) mod server;

mod access;
mod content;
mod lists;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::context::Context;
use crate::digest::Digest;
use crate::progress::{Event, Progress};
use crate::registry::settings::{Login, Secret, Settings};
use crate::registry::{Registries, Repository};

use server::{Asked, Reply, Server};

/// Remembers what was said.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn event(&self, event: Event<'_>) {
        if let Event::Warning(text) | Event::Detail(text) = event {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

/// A context whose words are remembered.
pub(crate) fn context() -> (Context, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let ctx = Context { progress: Arc::clone(&heard) as Arc<dyn Progress>, ..Context::default() };
    (ctx, heard)
}

/// Settings that read nothing of the machine.
pub(crate) fn settings() -> Settings {
    Settings { root: "/nonexistent".into(), ..Settings::default() }
}

pub(crate) fn alice() -> Settings {
    let login = Login { username: "alice".into(), password: Secret::new("s3cret") };
    Settings { credentials: Some(login), ..settings() }
}

pub(crate) fn repository_with(server: &Server, settings: Settings, ctx: &Context) -> Repository {
    let registries = Registries::new(settings, ctx).unwrap();
    registries.repository(&format!("{}/a/b", server.host()).parse().unwrap()).unwrap()
}

pub(crate) fn repository(server: &Server) -> Repository {
    repository_with(server, settings(), &Context::default())
}

/// Answers in turn; the last one for ever.
pub(crate) fn in_turn(replies: Vec<Reply>) -> impl Fn(&Asked) -> Reply {
    let at = AtomicUsize::new(0);
    move |_| replies[at.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1)].clone()
}

pub(crate) const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

pub(crate) fn manifest_reply() -> Reply {
    Reply::new(200, MANIFEST)
        .with("content-type", "application/vnd.oci.image.manifest.v1+json")
        .with("docker-content-digest", Digest::of(MANIFEST.as_bytes()).to_string())
}
