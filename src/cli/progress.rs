//! Progress: bars on a terminal, lines when piped, JSON lines for programs.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgpack::locks::lock;
use imgpack::progress::{Event, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::args::ProgressMode;
use super::log::Log;
use super::out;

/// Turns events into what a person or a program reads on standard error.
pub(crate) struct Renderer {
    mode: ProgressMode,
    verbose: u8,
    bar: Mutex<Option<ProgressBar>>,
    done: AtomicU64,
    log: Option<Arc<Log>>,
}

impl Renderer {
    /// A renderer; `auto` means bars when standard error is a capable terminal.
    pub(crate) fn new(mode: ProgressMode, verbose: u8, log: Option<Arc<Log>>) -> Self {
        let capable = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_some_and(|t| t != "dumb");
        let mode = match mode {
            ProgressMode::Auto if !capable => ProgressMode::Plain,
            mode => mode,
        };
        Self { mode, verbose, bar: Mutex::default(), done: AtomicU64::new(0), log }
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        lock(&self.bar)
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &*self.bar() {
            Some(bar) => bar.suspend(|| out::error_line(line)),
            None => out::error_line(line),
        }
    }

    fn plan(&self, blobs: u64, bytes: u64) {
        if let Some(bar) = &*self.bar() {
            return bar.inc_length(bytes);
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(8));
        let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let template = if colour {
            "{bar:30.cyan/blue} {bytes}/{total_bytes} {bytes_per_sec} {eta} left  {msg}"
        } else {
            "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left  {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(format!("{blobs} blobs"));
        bar.enable_steady_tick(Duration::from_millis(250));
        *self.bar() = Some(bar);
    }
}

impl Progress for Renderer {
    fn event(&self, event: Event<'_>) {
        if let (Some(log), Some(line)) = (&self.log, line_of(&event)) {
            log.line(&line);
        }
        if self.mode == ProgressMode::Json {
            if let Some(value) = value_of(&event, &self.done) {
                out::error_line(&value.to_string());
            }
            return;
        }
        match event {
            Event::Warning(text) => {
                self.say(&format!("imgpack: warning: {}", imgpack::text::escape_long(text)));
            }
            Event::Detail(text) if self.verbose > 0 => self.say(&imgpack::text::escape_long(text)),
            Event::Planned { blobs, bytes } if self.mode == ProgressMode::Auto => {
                self.plan(blobs, bytes);
            }
            Event::Bytes(n) if self.mode == ProgressMode::Auto => {
                if let Some(bar) = &*self.bar() {
                    bar.inc(n);
                }
            }
            Event::Reused(_, size) if self.mode == ProgressMode::Auto => {
                if let Some(bar) = &*self.bar() {
                    bar.inc(size);
                }
            }
            // Reading begins as often as it ends; that much only the second -v tells.
            event if self.verbose > 1 || self.verbose == 1 && !matches!(event, Event::Began(_)) => {
                if let Some(line) = line_of(&event) {
                    self.say(&line);
                }
            }
            _ => {}
        }
    }
}

fn line_of(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Planned { blobs, bytes } => format!("planned {blobs} blobs, {bytes} bytes"),
        Event::Began(blob) => format!("reading {blob}"),
        Event::Reused(blob, size) => format!("reused {blob}, {size} bytes"),
        Event::Stored(blob, size) => format!("stored {blob}, {size} bytes"),
        Event::Published(image) => format!("published {image}"),
        Event::Unpacking(archive, size) => format!("unpacking {archive}, {size} bytes"),
        Event::Hashing(archive, size) => format!("hashing layers of {archive}, {size} bytes"),
        Event::Checking(place, size) => format!("unpacking layers of {place}, {size} bytes"),
        Event::Warning(text) => format!("warning: {text}"),
        Event::Detail(text) => (*text).to_owned(),
        _ => return None,
    })
}

fn value_of(event: &Event<'_>, done: &AtomicU64) -> Option<serde_json::Value> {
    Some(match event {
        Event::Planned { blobs, bytes } => {
            json!({"event": "planned", "blobs": blobs, "bytes": bytes})
        }
        Event::Began(blob) => json!({"event": "began", "blob": blob}),
        Event::Bytes(n) => {
            // A line for every 16 MiB is enough for any bar.
            let before = done.fetch_add(*n, Ordering::Relaxed);
            if before >> 24 == (before + n) >> 24 {
                return None;
            }
            json!({"event": "bytes", "done": before + n})
        }
        Event::Reused(blob, size) => json!({"event": "reused", "blob": blob, "bytes": size}),
        Event::Stored(blob, size) => json!({"event": "stored", "blob": blob, "bytes": size}),
        Event::Published(image) => json!({"event": "published", "image": image}),
        Event::Unpacking(archive, size) => {
            json!({"event": "unpacking", "archive": archive, "bytes": size})
        }
        Event::Hashing(archive, size) => {
            json!({"event": "hashing", "archive": archive, "bytes": size})
        }
        Event::Checking(place, size) => {
            json!({"event": "checking", "place": place, "bytes": size})
        }
        Event::Warning(text) => json!({"event": "warning", "text": text}),
        Event::Detail(text) => json!({"event": "detail", "text": text}),
        _ => return None,
    })
}
