//! Sessions that are remembered over runs.

use std::sync::atomic::Ordering;

use super::*;

/// A run that is interrupted while the blob is read, `at` bytes in.
fn interrupted(fake: &Fake, blob: &[u8], settings: &Settings, at: usize) {
    struct Until<'a>(&'a [u8], usize, &'a Context);
    impl Read for Until<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1 == 0 {
                self.2.cancel.store(true, Ordering::Relaxed);
            }
            self.2.check()?;
            let want = buffer.len().min(self.1);
            self.1 -= want;
            self.0.read(&mut buffer[..want])
        }
    }
    let ctx = Context::default();
    let desc = Descriptor::of("a/b", blob);
    let open = || -> Result<Box<dyn Read + Send + '_>> { Ok(Box::new(Until(blob, at, &ctx))) };
    let err = upload(&target(fake, settings, &ctx), &desc, None, &open).unwrap_err();
    assert_eq!(err.kind(), Kind::Interrupted);
}

#[test]
fn a_later_run_goes_on_with_the_session_of_an_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_path_buf());
    let style = TransferStyle::Chunked(1 << 20);
    let settings = Settings { state, style, ..Settings::default() };
    let blob = bytes(5 * MIB + 3);
    let fake = Fake::new(Habits::default(), &[]);
    interrupted(&fake, &blob, &settings, 3 * MIB + MIB / 2);
    assert_eq!(files(dir.path()), 1);
    assert_eq!(fake.inner.lock().unwrap().sessions.len(), 1);
    let sent = send_as(&fake, &blob, &settings).unwrap();
    assert_eq!(sent as usize, 2 * MIB + 3, "what the registry has is not sent again");
    assert_eq!(files(dir.path()), 0);
    assert_eq!(fake.count("POST"), 1);

    // The session is gone: it begins anew.
    interrupted(&fake, &blob, &settings, 2 * MIB);
    fake.inner.lock().unwrap().sessions.clear();
    fake.inner.lock().unwrap().blobs.clear();
    assert_eq!(send_as(&fake, &blob, &settings).unwrap() as usize, blob.len());

    // The session is gone because all was done.
    interrupted(&fake, &blob, &settings, 2 * MIB);
    let mut inner = fake.inner.lock().unwrap();
    inner.sessions.clear();
    inner.blobs.insert(Digest::of(&blob).to_string(), blob.clone());
    drop(inner);
    assert_eq!(send_as(&fake, &blob, &settings).unwrap(), 0);
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_session_on_another_host_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_path_buf());
    let settings = Settings { state, ..Settings::default() };
    let fake = Fake::new(Habits { elsewhere: true, ..Habits::default() }, &[]);
    interrupted(&fake, &bytes(2 * MIB), &settings, MIB);
    assert_eq!(files(dir.path()), 0);
    assert!(fake.inner.lock().unwrap().sessions.is_empty(), "it must be cancelled");
}

#[test]
fn two_uploads_of_one_blob_do_not_disturb_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_path_buf());
    let settings = Settings { state, ..Settings::default() };
    let (blob, fake, ctx) = (bytes(2 * MIB), Fake::new(Habits::default(), &[]), Context::default());
    let desc = Descriptor::of("a/b", &blob);
    let to = target(&fake, &settings, &ctx);
    // Another process is in the middle of it.
    let held = claim(&to, &desc).unwrap();
    assert!(claim(&to, &desc).is_none());
    upload(&to, &desc, None, &|| Ok(Box::new(&blob[..]))).unwrap();
    assert_eq!(files(dir.path()), 1, "the other's file is left alone");
    drop(held);
    assert_eq!(files(dir.path()), 0);
}
