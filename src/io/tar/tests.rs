//! Hand-built archives: every dialect accepted, every trick refused.

use std::io::Cursor;

use super::*;
use crate::tests::cpu_time;

/// A header block with a right checksum.
fn head(name: &str, flag: u8, size: u64) -> [u8; BLOCK] {
    let mut b = [0; BLOCK];
    b[..name.len()].copy_from_slice(name.as_bytes());
    b[100..108].copy_from_slice(b"0000644\0");
    b[108..116].copy_from_slice(b"0001750\0");
    b[116..124].copy_from_slice(b"0001751\0");
    b[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    b[136..148].copy_from_slice(b"00000000052\0");
    b[156] = flag;
    b[257..265].copy_from_slice(b"ustar\x0000");
    seal(b)
}

fn with(mut b: [u8; BLOCK], at: usize, bytes: &[u8]) -> [u8; BLOCK] {
    b[at..at + bytes.len()].copy_from_slice(bytes);
    seal(b)
}

fn gnu(b: [u8; BLOCK]) -> [u8; BLOCK] {
    with(b, 257, b"ustar  \0")
}

fn seal(mut b: [u8; BLOCK]) -> [u8; BLOCK] {
    b[148..156].fill(b' ');
    let sum: u32 = b.iter().map(|b| u32::from(*b)).sum();
    b[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    b
}

fn file(name: &str, body: &[u8]) -> Vec<u8> {
    member(head(name, b'0', body.len() as u64), body)
}

fn member(head: [u8; BLOCK], body: &[u8]) -> Vec<u8> {
    let mut v = head.to_vec();
    v.extend_from_slice(body);
    v.resize(v.len() + padding(body.len() as u64) as usize, 0);
    v
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (k, v) in records {
        let mut len = k.len() + v.len() + 3;
        while len != k.len() + v.len() + 3 + len.to_string().len() {
            len = k.len() + v.len() + 3 + len.to_string().len();
        }
        body.extend_from_slice(format!("{len} {k}={v}\n").as_bytes());
    }
    member(head("pax", b'x', body.len() as u64), &body)
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

type Listing = (Vec<(TarEntry, Vec<u8>)>, Ending);

fn read(bytes: &[u8]) -> Result<Listing> {
    let mut tar = TarReader::new(bytes);
    let mut out = Vec::new();
    while let Some(entry) = tar.next()? {
        let mut body = Vec::new();
        tar.content()?.read_to_end(&mut body)?;
        out.push((entry, body));
    }
    // Seeking must see the same members, or the same kind of error.
    let mut seeking = TarReader::seekable(Cursor::new(bytes))?;
    let mut names = Vec::new();
    while let Some(entry) = seeking.next()? {
        names.push(entry.name);
    }
    assert_eq!(names, out.iter().map(|(e, _)| e.name.clone()).collect::<Vec<_>>());
    assert_eq!(seeking.ending(), tar.ending());
    Ok((out, tar.ending()))
}

fn one(parts: &[&[u8]]) -> TarEntry {
    let bytes = parts.concat();
    let (mut list, _) = read(&bytes).expect("a good archive");
    assert_eq!(list.len(), 1, "one member");
    list.remove(0).0
}

fn refused(parts: &[&[u8]], why: &str) {
    let bytes = parts.concat();
    let err = read(&bytes).map(|(l, _)| l.len()).expect_err(why);
    assert_eq!(err.kind(), crate::Kind::Malformed, "{err}");
    assert!(err.what().contains(why), "{err} does not say {why:?}");
    let mut seeking = TarReader::seekable(Cursor::new(&bytes)).expect("seekable");
    loop {
        match seeking.next() {
            Ok(Some(_)) => {}
            // A truncated or contradictory body need not be read to list the members.
            Ok(None) => break,
            Err(e) => {
                assert!(e.what().contains(why), "{e}");
                break;
            }
        }
    }
}

#[test]
fn a_plain_archive_lists_its_members_with_offsets() {
    let bytes = [file("a", b"hello"), file("dir/", b""), file("b", &[7; 513]), end()].concat();
    let (list, ending) = read(&bytes).expect("good");
    let got: Vec<_> = list
        .iter()
        .map(|(e, b)| (e.name.as_slice(), e.kind, e.size, b.len(), e.header_offset, e.body_offset))
        .collect();
    assert_eq!(
        got,
        [
            (b"a".as_slice(), EntryKind::Regular, 5, 5, 0, 512),
            (b"dir/", EntryKind::Dir, 0, 0, 1024, 1536),
            (b"b", EntryKind::Regular, 513, 513, 1536, 2048),
        ]
    );
    assert_eq!(ending, Ending::Clean);
    let e = &list[0].0;
    assert_eq!((e.mode, e.uid, e.gid, e.mtime), (0o644, 0o1750, 0o1751, 42));
    assert_eq!(e.raw, bytes[..512]);
}

#[test]
fn every_type_byte_has_its_kind() {
    for (flag, kind) in [
        (0, EntryKind::Regular),
        (b'7', EntryKind::Regular),
        (b'1', EntryKind::HardLink),
        (b'2', EntryKind::Symlink),
        (b'3', EntryKind::Char),
        (b'4', EntryKind::Block),
        (b'5', EntryKind::Dir),
        (b'6', EntryKind::Fifo),
        (b'Z', EntryKind::Other(b'Z')),
    ] {
        assert_eq!(one(&[&head("n", flag, 0), &end()]).kind, kind, "{flag}");
    }
    let device = with(with(head("n", b'3', 0), 329, b"0000005\0"), 337, b"0000001\0");
    let e = one(&[&device, &end()]);
    assert_eq!((e.major, e.minor), (5, 1));
}

#[test]
fn links_and_directories_have_no_body_whatever_their_size_says() {
    for flag in [b'1', b'2', b'5', b'6'] {
        let bytes = [head("n", flag, 700).to_vec(), file("next", b"x"), end()].concat();
        let (list, _) = read(&bytes).expect("good");
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].0.size, 0);
    }
}

#[test]
fn members_that_readers_take_differently_are_refused() {
    for flag in [0, b'0', b'7'] {
        refused(&[&member(head("d/", flag, 3), b"abc"), &end()], "directory's name");
        assert_eq!(one(&[&head("d/", flag, 0), &end()]).kind, EntryKind::Dir);
    }
    refused(&[&head("x", b'X', 0), &file("n", b""), &end()], "Solaris");
}

#[test]
fn a_seek_beyond_the_end_is_noticed() {
    let bytes = file("a", &[1; 5000]);
    for cut in 513..bytes.len() {
        let mut tar = TarReader::seekable(Cursor::new(&bytes[..cut])).expect("seekable");
        tar.next().expect("a header");
        let err = tar.next().map(|_| ()).expect_err("truncated");
        assert_eq!(err.kind(), crate::Kind::Malformed);
        assert!(err.what().contains("truncated"), "{err}");
    }
}

#[test]
fn prefixes_join_names_in_ustar_but_not_in_gnu_or_v7() {
    let b = with(head("name", b'0', 0), 345, b"some/prefix");
    assert_eq!(one(&[&b, &end()]).name, b"some/prefix/name");
    assert_eq!(one(&[&gnu(b), &end()]).name, b"name");
    let v7 = with(b, 257, &[0; 8]);
    assert_eq!(one(&[&v7, &end()]).name, b"name");
    let star = with(with(b, 476, b"00000000001\0"), 508, b"tar\0");
    assert_eq!(one(&[&star, &end()]).name, b"some/prefix/name");
}

#[test]
fn gnu_long_names_and_links_apply_to_the_next_member() {
    let long = "d/".repeat(200) + "name";
    let target = "t".repeat(300);
    let l = member(gnu(head("././@LongLink", b'L', 405)), format!("{long}\0").as_bytes());
    let k = member(gnu(head("././@LongLink", b'K', 301)), format!("{target}\0").as_bytes());
    let e = one(&[&l, &k, &gnu(head("short", b'2', 0)), &end()]);
    assert_eq!((e.name, e.link), (long.into_bytes(), target.into_bytes()));
    assert_eq!(e.raw.len(), l.len() + k.len() + 512);
    assert_eq!(e.header_offset, 0);
}

#[test]
fn base_256_numbers_are_read_and_negative_sizes_refused() {
    let mut size = [0; 12];
    size[0] = 0x80;
    size[11] = 3;
    let b =
        with(with(head("n", b'0', 0), 124, &size), 108, &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    let e = one(&[&member(b, b"abc"), &end()]);
    assert_eq!((e.size, e.uid), (3, 0x7fff_ffff));
    refused(&[&with(head("n", b'0', 0), 124, &[0xff; 12]), &end()], "negative size");
    size[4] = 0x20;
    refused(&[&with(head("n", b'0', 0), 124, &size), &end()], "over the limit");
    let old = with(head("n", b'0', 0), 136, &[0xff; 12]);
    assert_eq!(one(&[&old, &end()]).mtime, -1);
}

#[test]
fn pax_records_override_the_header() {
    let x = pax(&[
        ("path", "long/näme"),
        ("size", "3"),
        ("uid", "3000000000"),
        ("mtime", "12.000000345999"),
        ("SCHILY.xattr.user.k", "v=1\n\0x"),
    ]);
    let e = one(&[&x, &member(head("n", b'0', 0), b"abc"), &end()]);
    assert_eq!(e.name, "long/näme".as_bytes());
    assert_eq!((e.size, e.uid, e.mtime, e.mtime_nanos), (3, 3_000_000_000, 12, 345));
    assert_eq!(e.pax_value(b"SCHILY.xattr.user.k"), Some(b"v=1\n\0x".as_slice()));
    assert_eq!(e.pax.len(), 5);
    let e = one(&[&pax(&[("mtime", "-1.5")]), &file("n", b""), &end()]);
    assert_eq!((e.mtime, e.mtime_nanos), (-2, 500_000_000));
    let e = one(&[&pax(&[("path", ""), ("linkpath", "t")]), &head("n", b'2', 0), &end()]);
    assert_eq!((e.name, e.link), (b"n".to_vec(), b"t".to_vec()));
}

#[test]
fn a_pax_size_wins_over_a_header_size() {
    // RUSTSEC-2026-0068 and CVE-2025-62518: the inner bytes must not be read as members.
    let inner = file("inner", b"");
    let bytes =
        [pax(&[("size", "512")]), head("n", b'0', 0).to_vec(), inner.clone(), end()].concat();
    assert_eq!(read(&bytes).expect("good").0.len(), 1);
    let bytes = [pax(&[("size", "0")]), head("n", b'0', 512).to_vec(), inner, end()].concat();
    assert_eq!(read(&bytes).expect("good").0.len(), 2);
}

#[test]
fn a_pax_size_does_not_apply_to_a_long_name_header() {
    let l = member(gnu(head("././@LongLink", b'L', 6)), b"hello\0");
    let x = pax(&[("size", "3")]);
    let e = one(&[&x, &l, &member(head("n", b'0', 1), b"abc"), &end()]);
    assert_eq!((e.name.as_slice(), e.size), (b"hello".as_slice(), 3));
}

#[test]
fn malformed_pax_records_are_refused() {
    for body in [
        "9 a=b\n",
        "5 a=b\n",
        "6 a=b\nx",
        "6 a=bx",
        "0 a=b\n",
        "-6 a=b\n",
        "06",
        " 6 a=b\n",
        "5 ab\n",
        "6 =ab\n",
        "+6 a=b\n",
        "6 a=b\n\0\0",
        "99999999999999999999999 a=b\n",
        "7 a\0=b\n",
    ] {
        let x = member(head("pax", b'x', body.len() as u64), body.as_bytes());
        refused(&[&x, &file("n", b""), &end()], "PAX record");
    }
    for (k, v) in [
        ("size", "1e3"),
        ("size", "-1"),
        ("size", "9007199254740993"),
        ("uid", "x"),
        ("mtime", "1.x"),
        ("path", "a\0b"),
        ("linkpath", "a\0b"),
    ] {
        refused(&[&pax(&[(k, v)]), &file("n", b""), &end()], "PAX record");
    }
    refused(&[&pax(&[]), &pax(&[]), &file("n", b""), &end()], "two PAX headers");
    let l = member(gnu(head("././@LongLink", b'L', 6)), b"hello\0");
    refused(&[&l, &pax(&[("path", "other")]), &file("n", b""), &end()], "different names");
    refused(&[&pax(&[("path", "x")]), &end()], "without its member");
    refused(&[&l], "without its member");
}

#[test]
fn global_headers_are_passed_over_unless_they_move_members() {
    let mut g = pax(&[("comment", "3f2a")]);
    g[..512].copy_from_slice(&with(head("g", b'g', 16), 0, b"g"));
    let e = one(&[&g, &file("n", b""), &end()]);
    assert_eq!((e.pax.len(), e.raw.len()), (0, 1536));
    let mut g = pax(&[("size", "512")]);
    g[..512].copy_from_slice(&head("g", b'g', 12));
    refused(&[&g, &file("n", b""), &end()], "global PAX header");
}

#[test]
fn limits_hold_at_the_limit_and_one_above() {
    let name = |n: usize| {
        let body = "n".repeat(n);
        member(gnu(head("././@LongLink", b'L', n as u64)), body.as_bytes())
    };
    assert_eq!(one(&[&name(4096), &file("n", b""), &end()]).name.len(), 4096);
    refused(&[&name(4097), &file("n", b""), &end()], "over the limit of 4096");
    let x = |size: usize| {
        let body = format!("{size} a={}\n", "v".repeat(size - 4 - size.to_string().len()));
        member(head("pax", b'x', size as u64), body.as_bytes())
    };
    assert_eq!(one(&[&x(1 << 20), &file("n", b""), &end()]).pax.len(), 1);
    refused(&[&x((1 << 20) + 1), &file("n", b""), &end()], "over the limit");
    // Many long names before one member must not add up either.
    let many = name(1 << 20).repeat(5);
    refused(&[&many, &file("n", b""), &end()], "over the limit");
    refused(&[&gnu(head("././@LongLink", b'L', 1 << 32))], "over the limit");
}

#[test]
fn wrong_checksums_are_refused_and_signed_ones_accepted() {
    let mut b = head("n", b'0', 0);
    b[0] = b'm';
    refused(&[&file("a", b"x"), &b, &end()], "checksum");
    let mut b = with(head("n", b'0', 0), 0, &[0xe9, 0xff]);
    b[148..156].fill(b' ');
    let sum: i32 = b.iter().map(|b| i32::from(*b as i8)).sum();
    b[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(one(&[&b, &end()]).name, [0xe9, 0xff]);
    refused(&[&with(head("n", b'0', 0), 124, b"0000000008\0\0"), &end()], "size field");
}

#[test]
fn a_cut_anywhere_but_between_members_is_an_error() {
    let bytes = [pax(&[("path", "abc")]), file("a", &[1; 700]), file("b", b"x"), end()].concat();
    let last = bytes.len() - 1024;
    let between = 512 + 512 + 512 + 1024;
    for cut in 0..last {
        let got = read(&bytes[..cut]);
        if cut == 0 || cut == between {
            assert_eq!(got.expect("whole members").1, Ending::NoEndMarker);
        } else {
            let err = got.map(|(l, _)| l.len()).expect_err("a cut");
            let said = err.what();
            assert!(
                said.contains("truncated") || said.contains("without its member"),
                "{cut}: {err}"
            );
        }
    }
}

#[test]
fn the_ending_says_what_follows_the_marker() {
    let base = file("a", b"x");
    let check = |tail: Vec<u8>, ending: Ending| {
        assert_eq!(read(&[base.clone(), tail].concat()).expect("good").1, ending);
    };
    check(vec![], Ending::NoEndMarker);
    check(vec![0; 512], Ending::NoEndMarker);
    check(vec![0; 700], Ending::NoEndMarker);
    check(vec![0; 1024], Ending::Clean);
    check(vec![0; 1025], Ending::ZeroPadded);
    check(vec![0; 9216], Ending::ZeroPadded);
    check([vec![0; 1024], b"junk".to_vec()].concat(), Ending::Junk { offset: 2048 });
    check([vec![0; 1600], vec![9; 5000]].concat(), Ending::Junk { offset: 2624 });
    check([end(), base.clone(), end()].concat(), Ending::SecondArchive { offset: 2048 });
    check([end(), end(), base.clone()].concat(), Ending::SecondArchive { offset: 3072 });
    refused(&[&base, &[0; 512], &base, &end()], "single zero block");
    assert_eq!(read(&[]).expect("empty").1, Ending::NoEndMarker);
    assert_eq!(read(&[0; 10240]).expect("empty").1, Ending::ZeroPadded);
}

fn sparse_head(pairs: &[(u64, u64)], stored: u64, real: u64, more: bool) -> [u8; BLOCK] {
    let mut b = gnu(head("s", b'S', stored));
    for (i, (at, len)) in pairs.iter().enumerate() {
        let pair = format!("{at:011o}\0{len:011o}\0");
        b[386 + 24 * i..410 + 24 * i].copy_from_slice(pair.as_bytes());
    }
    b[482] = u8::from(more);
    b[483..495].copy_from_slice(format!("{real:011o}\0").as_bytes());
    seal(b)
}

fn sparse_block(pairs: &[(u64, u64)], more: bool) -> [u8; BLOCK] {
    let mut b = [0; BLOCK];
    for (i, (at, len)) in pairs.iter().enumerate() {
        let pair = format!("{at:011o}\0{len:011o}\0");
        b[24 * i..24 * i + 24].copy_from_slice(pair.as_bytes());
    }
    b[504] = u8::from(more);
    b
}

#[test]
fn sparse_members_of_every_format_read_as_their_content() {
    let want = b"\0\0ab\0\0\0cde\0\0".to_vec();
    let map = [(2, 2), (7, 3)];
    let old = member(sparse_head(&map, 5, 12, false), b"abcde");
    let extended = [
        sparse_head(&[(2, 2)], 5, 12, true).to_vec(),
        sparse_block(&[], true).to_vec(),
        member(sparse_block(&[(7, 3), (12, 0)], false), b"abcde"),
    ]
    .concat();
    let v00 = [
        pax(&[
            ("GNU.sparse.size", "12"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "2"),
            ("GNU.sparse.numbytes", "2"),
            ("GNU.sparse.offset", "7"),
            ("GNU.sparse.numbytes", "3"),
        ]),
        file("s", b"abcde"),
    ]
    .concat();
    let v01 = [
        pax(&[("GNU.sparse.size", "12"), ("GNU.sparse.name", "s"), ("GNU.sparse.map", "2,2,7,3")]),
        file("GNUSparseFile.1/s", b"abcde"),
    ]
    .concat();
    let mut body = b"2\n2\n2\n7\n3\n".to_vec();
    body.resize(512, 0);
    body.extend_from_slice(b"abcde");
    let v10 = [
        pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", "12"),
        ]),
        file("GNUSparseFile.1/s", &body),
    ]
    .concat();
    for (format, bytes) in
        [("old", old), ("extended", extended), ("0.0", v00), ("0.1", v01), ("1.0", v10)]
    {
        let bytes = [bytes, file("after", b"x"), end()].concat();
        let (list, _) = read(&bytes).expect(format);
        assert_eq!(list.len(), 2, "{format}");
        let (entry, content) = &list[0];
        assert_eq!(entry.name, b"s", "{format}");
        assert_eq!((entry.kind, entry.content_size), (EntryKind::Sparse, 12), "{format}");
        assert_eq!(content, &want, "{format}");
    }
}

#[test]
fn sparse_maps_that_make_no_sense_are_refused() {
    for (map, stored, real) in [
        (vec![(2, 2), (3, 3)], 5, 12),
        (vec![(7, 3), (2, 2)], 5, 12),
        (vec![(2, 2), (10, 3)], 5, 12),
        (vec![(2, 2)], 5, 12),
        (vec![(1 << 32, (1 << 33) - 1)], 5, 12),
    ] {
        let bytes = member(sparse_head(&map, stored, real, false), b"abcde");
        refused(&[&bytes, &end()], "sparse member");
    }
    let bomb = [sparse_head(&[], 0, 0, true).to_vec(), sparse_block(&[], true).repeat(2100)];
    refused(&[&bomb.concat()], "over the limit");
    refused(&[&sparse_head(&[], 0, 0, true)], "truncated");
    for map in ["1", "1,x", "9,9"] {
        let x = pax(&[("GNU.sparse.size", "12"), ("GNU.sparse.map", map)]);
        refused(&[&x, &file("s", b"abcde"), &end()], "sparse member");
    }
}

#[test]
fn time_grows_linearly_with_members() {
    let time = |n: usize| {
        let bytes = [file("a", b"x").repeat(n), end()].concat();
        cpu_time(|| assert_eq!(read(&bytes).expect("good").0.len(), n))
    };
    let (small, large) = (time(2_000), time(20_000));
    assert!(large < small * 40 + std::time::Duration::from_millis(200), "{small:?} {large:?}");
}

#[test]
fn a_source_error_keeps_its_kind() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(Error::corrupt("bad gzip").into())
        }
    }
    let bytes = head("a", b'0', 100);
    let mut tar = TarReader::new(bytes.as_slice().chain(Broken));
    tar.next().expect("a header");
    assert_eq!(tar.next().expect_err("broken").kind(), crate::Kind::Corrupt);
}
