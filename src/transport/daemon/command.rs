//! An engine's program as a child process: its pipes, its error output, and its end.
//!
//! It knows no engine. A child has its own process group and never outlives its owner: it is killed when
//! the run is interrupted or its reader or writer is dropped, and it is always waited for.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::transport::daemon::engine::ArchiveFeed;
use crate::transport::daemon::words;

/// How often a wait looks at the child and at whether the run was interrupted.
const TICK: Duration = Duration::from_millis(20);
/// How long a child may take to end when it is asked to, before it is made to.
const GRACE: Duration = Duration::from_secs(2);
/// How long a child that reads no more may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Most bytes kept of what a child says, and of what it lists.
const KEPT: usize = 16 << 10;
const LISTED: u64 = 64 << 20;

/// A program with its arguments, or the first of several that is installed.
pub(super) struct CommandLine {
    ways: Vec<(&'static str, Vec<String>)>,
    verb: &'static str,
}

impl CommandLine {
    /// A command line; messages show it as `verb`.
    pub(super) fn new(program: &'static str, verb: &'static str, words: &[String]) -> Self {
        Self { ways: vec![(program, words.to_vec())], verb }
    }

    /// Another program to call where the earlier ones are missing; `words` come before the others.
    pub(super) fn or(mut self, program: &'static str, words: &[&str]) -> Self {
        let before = words.iter().map(|w| (*w).to_owned());
        let all = before.chain(self.ways[0].1.iter().cloned()).collect();
        self.ways.push((program, all));
        self
    }

    /// Starts it to read what it writes.
    ///
    /// # Errors
    /// `Missing` when it is not installed, `Denied`, `Io`.
    pub(super) fn reading(&self, ctx: &Context) -> Result<ChildOutput> {
        let mut running = self.start(Stdio::null(), ctx)?;
        let from = lock(&running.child).stdout.take();
        let from = from.ok_or_else(|| Error::new(Kind::Other, "a child without a pipe"))?;
        running.watch(ctx);
        Ok(ChildOutput { running, from })
    }

    /// Starts it to write what it reads.
    ///
    /// # Errors
    /// As [`CommandLine::reading`].
    pub(super) fn writing(&self, ctx: &Context) -> Result<ChildInput> {
        let mut running = self.start(Stdio::piped(), ctx)?;
        let (to, from) = {
            let mut child = lock(&running.child);
            (child.stdin.take(), child.stdout.take())
        };
        running.watch(ctx);
        Ok(ChildInput { running, to, lines: from.map(StderrTail::new) })
    }

    /// Runs it for what it prints.
    ///
    /// # Errors
    /// As [`CommandLine::reading`], and those of the program.
    pub(super) fn text(&self, ctx: &Context) -> Result<String> {
        let mut text = String::new();
        self.reading(ctx)?.take(LISTED).read_to_string(&mut text)?;
        Ok(text)
    }

    fn start(&self, stdin: Stdio, ctx: &Context) -> Result<RunningChild> {
        let mut stdin = Some(stdin);
        for (program, words) in &self.ways {
            let mut command = Command::new(program);
            command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
            // Signals of the terminal are for this process, which ends the child in good order.
            command.process_group(0).stdin(stdin.take().unwrap_or_else(Stdio::piped));
            let title = format!("{program} {}", self.verb);
            match command.spawn() {
                Ok(mut child) => {
                    let ear = child.stderr.take().map(StderrTail::new);
                    let child = Arc::new(Mutex::new(child));
                    return Ok(RunningChild { child, ear, over: None, title, ctx: ctx.clone() });
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                    let what = format!("{program} may not be run: permission denied");
                    return Err(Error::new(Kind::Denied, what));
                }
                Err(e) => return Err(Error::from(e).context(format!("starting {program}"))),
            }
        }
        let programs: Vec<&str> = self.ways.iter().map(|(program, _)| *program).collect();
        Err(Error::missing(format!("{} is not installed", programs.join(" or "))))
    }
}

/// Arguments.
pub(super) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Reads a pipe to its end and keeps the last bytes.
struct StderrTail {
    heard: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl StderrTail {
    fn new(mut from: impl Read + Send + 'static) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = bounded(1);
        let kept = heard.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                let mut kept = lock(&kept);
                kept.extend_from_slice(&chunk[..count]);
                let over = kept.len().saturating_sub(KEPT);
                kept.drain(..over);
            }
            let _ = end.send(());
        });
        Self { heard, ended }
    }

    /// What was heard. A grandchild may hold the pipe open, so that it is not waited for long.
    fn text(&self) -> String {
        let _ = self.ended.recv_timeout(GRACE);
        let heard = lock(&self.heard);
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// A child and its error output.
struct RunningChild {
    child: Arc<Mutex<Child>>,
    ear: Option<StderrTail>,
    over: Option<Sender<()>>,
    title: String,
    ctx: Context,
}

impl RunningChild {
    /// Ends the child when the run is interrupted, whoever waits for it in a system call meanwhile.
    fn watch(&mut self, ctx: &Context) {
        let (over, done) = bounded::<()>(0);
        let (child, ctx) = (self.child.clone(), ctx.clone());
        std::thread::spawn(move || {
            while done.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if ctx.check().is_err() {
                    stop(&child);
                    return;
                }
            }
        });
        self.over = Some(over);
    }

    /// Waits until the child has ended.
    fn wait(&self, most: Duration) -> io::Result<Option<ExitStatus>> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = lock(&self.child).try_wait()? {
                return Ok(Some(status));
            }
            if began.elapsed() > most {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
    }

    /// Waits for the child and says how it ended.
    fn end(&self, most: Duration) -> Result<()> {
        let status = self.wait(most)?;
        self.ctx.check()?;
        let said = self.ear.as_ref().map(StderrTail::text).unwrap_or_default();
        let Some(status) = status else {
            let what = format!("{} stopped reading but did not exit", self.title);
            return Err(Error::new(Kind::Unreachable, what));
        };
        if status.success() {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
        };
        let error = words::error(&said, &how).context(&self.title);
        // It was killed, as when an engine is stopped.
        let stopped = said.trim().is_empty() && status.signal().is_some();
        Err(if stopped { error.kind_as(Kind::Unreachable) } else { error })
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        self.over = None;
        stop(&self.child);
    }
}

/// Asks a child to end, then makes it end; waits for it. Nothing happens to one that has ended.
fn stop(child: &Mutex<Child>) {
    let began = Instant::now();
    let mut asked = false;
    loop {
        {
            let mut child = lock(child);
            // Never a signal to a number that may have become another process's.
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            let group = Pid::from_child(&child);
            if !asked {
                let _ = kill_process_group(group, Signal::TERM);
                asked = true;
            } else if began.elapsed() > GRACE {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The output of a program. Its end fails when the program does.
pub(super) struct ChildOutput {
    running: RunningChild,
    from: ChildStdout,
}

impl Read for ChildOutput {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buf)?;
        if count == 0 && !buf.is_empty() {
            self.running.end(Duration::MAX)?;
        }
        Ok(count)
    }
}

/// The input of a program.
pub(super) struct ChildInput {
    // Dropped first: a child that has ended cannot take the end of its input for the end of the archive.
    running: RunningChild,
    to: Option<ChildStdin>,
    lines: Option<StderrTail>,
}

impl Write for ChildInput {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(to) = &mut self.to else {
            return Err(Error::new(Kind::Other, "an earlier failure ended the program").into());
        };
        match to.write(buf) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.to = None;
                self.running.end(LAST_WORDS)?;
                let what = format!("{} ended before the archive did", self.running.title);
                Err(Error::new(Kind::Unreachable, what).into())
            }
            done => done,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ArchiveFeed for ChildInput {
    fn end(mut self: Box<Self>) -> Result<Vec<String>> {
        self.to = None;
        self.running.end(Duration::MAX)?;
        let said = self.lines.as_ref().map(StderrTail::text).unwrap_or_default();
        Ok(said.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn shell(script: &str) -> CommandLine {
        CommandLine::new("sh", "test", &["-c".into(), script.into()])
    }

    #[test]
    fn what_a_program_prints_is_read_to_its_end() {
        let ctx = Context::default();
        assert_eq!(shell("echo a; echo b").text(&ctx).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_program_that_fails_fails_the_last_read_with_its_words() {
        let ctx = Context::default();
        let error = shell("echo half; echo 'Error: x: image not known' >&2; exit 125")
            .text(&ctx)
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Missing);
        assert_eq!(error.to_string(), "sh test: x: image not known");
        let error = shell("exit 7").text(&ctx).unwrap_err();
        assert_eq!(error.to_string(), "sh test: exit code 7");
        let error = shell("kill -9 $$").text(&ctx).unwrap_err();
        assert_eq!(error.to_string(), "sh test: ended by signal 9");
        assert_eq!(error.kind(), Kind::Unreachable);
    }

    #[test]
    fn a_missing_program_is_named_with_its_stand_in() {
        let call = CommandLine::new("no-such-program-a", "x", &[]).or("no-such-program-b", &["x"]);
        let error = call.text(&Context::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Missing);
        assert_eq!(error.what(), "no-such-program-a or no-such-program-b is not installed");
    }

    #[test]
    fn a_program_that_reads_no_more_says_why() {
        let ctx = Context::default();
        let mut input =
            shell("echo 'write: no space left on device' >&2; exit 1").writing(&ctx).unwrap();
        let error = loop {
            if let Err(e) = input.write(&[0; 65536]) {
                break Error::from(e);
            }
        };
        assert_eq!(error.kind(), Kind::Io);
        assert!(error.what().contains("no space left"), "{error}");
        assert!(input.write(&[0]).is_err());
    }

    #[test]
    fn an_archive_that_ends_is_taken_and_one_that_is_dropped_is_not() {
        let ctx = Context::default();
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let script = format!("cat >/dev/null; echo Loaded; touch {}", done.display());
        let mut input = shell(&script).writing(&ctx).unwrap();
        input.write_all(b"abc").unwrap();
        drop(input);
        assert!(!done.exists());
        let mut input = shell(&script).writing(&ctx).unwrap();
        input.write_all(b"abc").unwrap();
        assert_eq!(Box::new(input).end().unwrap(), ["Loaded"]);
        assert!(done.exists());
    }

    #[test]
    fn an_interrupted_run_ends_a_program_that_hangs() {
        let ctx = Context::default();
        let began = Instant::now();
        let mut output = shell("sleep 60").reading(&ctx).unwrap();
        let pid = lock(&output.running.child).id();
        ctx.cancel.store(true, Ordering::Relaxed);
        let error = Error::from(output.read(&mut [0; 10]).unwrap_err());
        assert_eq!(error.kind(), Kind::Interrupted);
        assert!(began.elapsed() < Duration::from_secs(30));
        // Waited for: not even a zombie is left.
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
