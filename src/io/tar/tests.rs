//! Archives built by hand, one oddity each.

use super::*;

fn raw_header(name: &str, kind: u8, size: u64) -> [u8; BLOCK] {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.as_mut_bytes()[156] = kind;
    header.set_cksum();
    *header.as_bytes()
}

fn member(name: &str, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = raw_header(name, kind, body.len() as u64).to_vec();
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{rest}").into_bytes()
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn read(bytes: &[u8]) -> Result<(Vec<(String, u64)>, Ending)> {
    let mut tar = TarReader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = tar.next()? {
        found.push((String::from_utf8_lossy(&entry.name).into_owned(), entry.size));
    }
    Ok((found, tar.ending()))
}

fn names(bytes: &[u8]) -> Vec<String> {
    read(bytes).unwrap().0.into_iter().map(|(n, _)| n).collect()
}

#[test]
fn long_names_and_pax_paths_are_resolved() {
    let long = "d/".repeat(80) + "f";
    let gnu = [member("././@LongLink", b'L', format!("{long}\0").as_bytes()), member("short", b'0', b"x"), end()];
    assert_eq!(names(&gnu.concat()), [long.clone()]);
    let pax = [member("p", b'x', &record("path", &long)), member("short", b'0', b"x"), member("b", b'0', b""), end()];
    assert_eq!(names(&pax.concat()), [long, "b".into()]);
}

#[test]
fn a_pax_size_overrides_the_header_and_only_the_next_member() {
    let inner = member("inner", b'0', b"hidden");
    let mut outer = raw_header("outer", b'0', 0).to_vec();
    outer.extend_from_slice(&inner);
    let size = inner.len().to_string();
    let bytes = [member("p", b'x', &record("size", &size)), outer, member("after", b'0', b""), end()].concat();
    assert_eq!(names(&bytes), ["outer", "after"], "the inner archive is content");
    let bytes = [
        member("p", b'x', &record("size", "3")),
        member("././@LongLink", b'L', b"a-long-name-of-its-own\0"),
        member("x", b'0', b"abc"),
        member("after", b'0', b""),
        end(),
    ]
    .concat();
    assert_eq!(names(&bytes), ["a-long-name-of-its-own", "after"], "a long name keeps its own size");
}

#[test]
fn endings_are_told_apart() {
    let one = member("a", b'0', b"abc");
    let junk = |tail: &[u8]| [one.clone(), end(), tail.to_vec()].concat();
    assert_eq!(read(&junk(b"")).unwrap().1, Ending::Clean);
    assert_eq!(read(&one).unwrap().1, Ending::NoEndMarker);
    assert_eq!(read(&junk(&[0; 9000])).unwrap().1, Ending::ZeroPadded);
    assert_eq!(read(&junk(b"junk")).unwrap().1, Ending::Junk { offset: 2048 });
    assert_eq!(read(&junk(&one)).unwrap().1, Ending::SecondArchive { offset: 2048 });
    let padded = [one.clone(), end(), vec![0; 4 * BLOCK], one.clone()].concat();
    assert!(matches!(read(&padded).unwrap().1, Ending::SecondArchive { .. }));
}

#[test]
fn every_cut_but_that_of_the_end_marker_is_noticed() {
    let bytes = [member("a", b'0', &[1; 700]), member("p", b'x', &record("path", "b")), member("b", b'0', b"x"), end()].concat();
    let content = bytes.len() - 2 * BLOCK;
    for cut in 0..bytes.len() {
        let result = read(&bytes[..cut]);
        let between = cut == 0 || cut == 512 + 1024 || cut >= content && cut % BLOCK == 0;
        assert_eq!(result.is_ok(), between, "cut at {cut}");
    }
}

#[test]
fn what_is_no_tar_is_refused() {
    let mut negative = raw_header("a", b'0', 0);
    negative[124..136].copy_from_slice(&[0xff; 12]);
    let mut huge = raw_header("a", b'0', 0);
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let reseal = |mut block: [u8; BLOCK]| {
        let sum: u32 = block.iter().enumerate().map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b })).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.to_vec()
    };
    let mut broken = raw_header("a", b'0', 0);
    broken[0] ^= 1;
    let bomb = raw_header("././@LongLink", b'L', 2 << 30).to_vec();
    for (what, bytes) in [
        ("negative size", reseal(negative)),
        ("huge size", reseal(huge)),
        ("flipped bit", broken.to_vec()),
        ("long name bomb", bomb),
        ("malformed pax", [member("p", b'x', b"99 path=x\n"), member("a", b'0', b""), end()].concat()),
        ("pax without newline", [member("p", b'x', b"9 path=xy"), member("a", b'0', b""), end()].concat()),
        ("pax with NUL", [member("p", b'x', &record("path", "a\0b")), member("a", b'0', b""), end()].concat()),
        ("lone pax", [member("p", b'x', &record("path", "a")), end()].concat()),
        ("lone zero block", [member("a", b'0', b""), vec![0; BLOCK], member("b", b'0', b"")].concat()),
        ("text", vec![b'x'; 2048]),
    ] {
        assert!(read(&bytes).is_err(), "{what}");
    }
}
