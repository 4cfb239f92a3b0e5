//! Ctrl-C and SIGTERM: the first asks the run to stop and clean up, the second ends it. SIGHUP asks a
//! server to read its files again.
//!
//! A thread of its own takes them: one that waits for a medium that does not answer hears no signal.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use imgpack::io::temporary;
use imgpack::{Error, Kind, Result};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGXFSZ};
use signal_hook::{flag, low_level};

/// How long a run may take to end in good order, in milliseconds.
const PATIENCE: u64 = 1_500;
/// How long what is half made may take to be removed after that.
const CLEANING: Duration = Duration::from_millis(250);

/// Which signal came.
pub(crate) struct Signals {
    /// Set by either; the library looks at it between chunks.
    pub(crate) cancel: Arc<AtomicBool>,
    term: Arc<AtomicBool>,
    patience: Arc<AtomicU64>,
}

impl Signals {
    /// Starts listening. No other thread may run yet: those to come leave the signals to this one.
    ///
    /// # Errors
    /// `Other` when the system refuses.
    pub(crate) fn listen() -> Result<Self> {
        let signals = Self {
            cancel: Arc::default(),
            term: Arc::default(),
            patience: Arc::new(AtomicU64::new(PATIENCE)),
        };
        let (cancel, term) = (signals.cancel.clone(), signals.term.clone());
        let patience = signals.patience.clone();
        let register = || -> std::io::Result<()> {
            // A file-size limit is an error of the write, not the end of the process.
            flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
            let set: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
            set.thread_block()?;
            let watch = move || watch(&set, &cancel, &term, &patience);
            std::thread::Builder::new().name("signals".into()).spawn(watch)?;
            Ok(())
        };
        register().map_err(|e| Error::new(Kind::Other, format!("cannot handle signals: {e}")))?;
        Ok(signals)
    }

    /// Gives the run longer to end in good order: a server has answers under way.
    pub(crate) fn wait_longer(&self, more: Duration) {
        let more = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
        self.patience.fetch_add(more, Ordering::Relaxed);
    }

    /// A flag that SIGHUP sets from now on; before, it ends the process.
    ///
    /// # Errors
    /// As [`Signals::listen`].
    pub(crate) fn hangup() -> Result<Arc<AtomicBool>> {
        let asked = Arc::new(AtomicBool::new(false));
        match flag::register(SIGHUP, asked.clone()) {
            Ok(_) => Ok(asked),
            Err(e) => Err(Error::new(Kind::Other, format!("cannot handle signals: {e}"))),
        }
    }

    /// The exit code of the signal that came, if one did.
    pub(crate) fn code(&self) -> Option<u8> {
        self.cancel
            .load(Ordering::Relaxed)
            .then(|| if self.term.load(Ordering::Relaxed) { 143 } else { 130 })
    }
}

fn watch(set: &SigSet, cancel: &AtomicBool, term: &AtomicBool, patience: &Arc<AtomicU64>) {
    while let Ok(signal) = set.wait() {
        term.fetch_or(signal == Signal::SIGTERM, Ordering::Relaxed);
        let code = if signal == Signal::SIGTERM { 143 } else { 130 };
        if cancel.swap(true, Ordering::Relaxed) {
            end(code);
        }
        let (patience, since) = (patience.clone(), Instant::now());
        std::thread::spawn(move || {
            while since.elapsed() < Duration::from_millis(patience.load(Ordering::Relaxed)) {
                std::thread::sleep(Duration::from_millis(50));
            }
            end(code);
        });
    }
}

/// Ends the process whatever its threads wait for. What it leaves is what a killed one leaves, less what
/// is half made and can be removed at once.
fn end(code: i32) -> ! {
    let (done, cleaned) = mpsc::channel();
    std::thread::spawn(move || {
        temporary::remove_all();
        let _ = done.send(());
    });
    let _ = cleaned.recv_timeout(CLEANING);
    let _ = rustix::io::write(rustix::stdio::stderr(), b"imgpack: interrupted\n");
    low_level::exit(code)
}
