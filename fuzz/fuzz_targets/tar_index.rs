//! The tar reader and what an archive is taken to mean: no panic, no endless loop, and every member
//! lies where it says.
#![no_main]

use std::io::{Cursor, Read};
use std::sync::Arc;

use imgpack::Context;
use imgpack::io::dir::Dir;
use imgpack::io::scratch::Scratch;
use imgpack::io::tar::TarReader;
use imgpack::layout::Reading;
use imgpack::transport::archive::ArchiveSource;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // By seeking and by reading the same members must be found.
    let mut streamed = TarReader::new(data);
    let mut sought = TarReader::seekable(Cursor::new(data)).unwrap();
    loop {
        let (a, b) = (streamed.next(), sought.next());
        match (a, b) {
            (Ok(Some(a)), Ok(Some(b))) => {
                assert_eq!((a.name, a.body_offset, a.size), (b.name.clone(), b.body_offset, b.size));
                if b.size < 1 << 16 {
                    let mut body = Vec::new();
                    if sought.body().read_to_end(&mut body).is_ok() {
                        let at = b.body_offset as usize;
                        assert_eq!(body, data[at..at + b.size as usize]);
                    }
                }
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => break,
            // A body that is cut short shows at once to one and at the next member to the other.
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => break,
            (a, b) => panic!("{a:?} {b:?}"),
        }
    }
    let temporary = Dir::open(&std::env::temp_dir()).unwrap();
    let Ok(scratch) = Scratch::create(temporary) else { return };
    let ctx = Context::default();
    let _ = ArchiveSource::stream(data, "fuzz", Arc::new(scratch), Reading::default(), &ctx);
});
