//! Ctrl-C and SIGTERM: the first asks the run to stop and clean up, the second ends it. SIGHUP asks a
//! server to read its files again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imgpack::{Error, Kind, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

/// Which signal came.
pub(crate) struct Signals {
    /// Set by either; the library looks at it between chunks.
    pub(crate) cancel: Arc<AtomicBool>,
    term: Arc<AtomicBool>,
}

impl Signals {
    /// Starts listening.
    ///
    /// # Errors
    /// `Other` when the system refuses handlers.
    pub(crate) fn listen() -> Result<Self> {
        let cancel = Arc::new(AtomicBool::new(false));
        let term = Arc::new(AtomicBool::new(false));
        let register = || -> std::io::Result<()> {
            // In this order: the second signal finds the flag set and ends the process at once.
            flag::register_conditional_shutdown(SIGINT, 130, cancel.clone())?;
            flag::register_conditional_shutdown(SIGTERM, 143, cancel.clone())?;
            flag::register(SIGTERM, term.clone())?;
            flag::register(SIGINT, cancel.clone())?;
            flag::register(SIGTERM, cancel.clone())?;
            // A file-size limit is an error of the write, not the end of the process.
            flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
            Ok(())
        };
        register().map_err(|e| Error::new(Kind::Other, format!("cannot handle signals: {e}")))?;
        Ok(Self { cancel, term })
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
