//! Small layers put together by hand, and the tree they must make.

use super::*;
use crate::io::tar::{write_end, write_header, write_padding};

/// One member in short: `d name`, `f name content`, `s name target`, `h name target`, or a whiteout
/// as a file.
fn layer(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default().as_bytes();
        let rest = words.next().unwrap_or_default().as_bytes();
        let kind = match kind {
            "d" => EntryKind::Dir,
            "f" => EntryKind::Regular,
            "s" => EntryKind::Symlink,
            "h" => EntryKind::HardLink,
            "p" => EntryKind::Fifo,
            other => panic!("{other}"),
        };
        let (link, body) = match kind {
            EntryKind::Regular => (b"".as_slice(), rest),
            _ => (rest, b"".as_slice()),
        };
        put(&mut out, &Member { name, kind, link, size: body.len() as u64, ..plain() }, body);
    }
    write_end(&mut out).expect("a vector");
    out
}

fn plain() -> Member<'static> {
    Member {
        name: b"",
        kind: EntryKind::Regular,
        link: b"",
        size: 0,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanos: 0,
        major: 0,
        minor: 0,
        xattrs: &[],
    }
}

fn put(out: &mut Vec<u8>, member: &Member<'_>, body: &[u8]) {
    write_header(out, member).expect("a vector");
    out.extend_from_slice(body);
    write_padding(out, body.len() as u64).expect("a vector");
}

impl LayerStreams for Vec<Vec<u8>> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn open(&self, layer: usize) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self[layer].as_slice()))
    }
}

fn options() -> Options {
    Options::new(std::env::temp_dir())
}

fn run(layers: &Vec<Vec<u8>>, opts: &Options) -> Result<(Vec<u8>, Summary)> {
    let mut out = Vec::new();
    let summary = flatten(layers, &mut out, opts)?;
    assert_eq!(summary.bytes, out.len() as u64);
    Ok((out, summary))
}

/// The output in the short form above.
fn list(bytes: &[u8]) -> Vec<String> {
    let mut tar = TarReader::new(bytes);
    let mut out = Vec::new();
    while let Some(e) = tar.next().expect("good output") {
        let mut body = String::new();
        tar.body().read_to_string(&mut body).expect("a body");
        let kind = match e.kind {
            EntryKind::Dir => 'd',
            EntryKind::Regular => 'f',
            EntryKind::Symlink => 's',
            EntryKind::HardLink => 'h',
            EntryKind::Fifo => 'p',
            other => panic!("{other:?}"),
        };
        let name = String::from_utf8_lossy(&e.name).into_owned();
        let tail = format!("{}{}", String::from_utf8_lossy(&e.link), body);
        out.push(format!("{kind} {name} {tail}").trim_end().to_string());
    }
    assert_eq!(tar.ending(), tar::Ending::Clean);
    out
}

fn check(layers: &[&[&str]], want: &[&str]) {
    let layers: Vec<_> = layers.iter().map(|l| layer(l)).collect();
    let (bytes, _) = run(&layers, &options()).expect("flattened");
    assert_eq!(list(&bytes), want);
    // Few layers open at once must not change a byte.
    let (again, _) = run(&layers, &Options { max_open: 1, ..options() }).expect("flattened");
    assert_eq!(again, bytes);
}

fn refused(layers: &[&[&str]], why: &str) {
    let layers: Vec<_> = layers.iter().map(|l| layer(l)).collect();
    let err = run(&layers, &options()).map(|(_, s)| s).expect_err(why);
    assert_eq!(err.kind(), Kind::Malformed, "{err}");
    assert!(err.what().contains(why), "{err}");
}

#[test]
fn members_come_as_a_sorted_walk_with_parents_first() {
    check(
        &[&["f ./b 1", "f /a.b 2", "d a", "f a/z 3", "f a/c 4"], &["f a/d 5", "f b 6"]],
        &["d a/", "f a/c 4", "f a/d 5", "f a/z 3", "f a.b 2", "f b 6"],
    );
    check(&[], &[]);
    check(&[&["d ./", "p x/y"]], &["d x/", "p x/y"]);
}

#[test]
fn whiteouts_remove_what_lower_layers_put_there() {
    check(&[&["f a 1", "f b 2"], &["f .wh.a"]], &["f b 2"]);
    check(&[&["d d", "f d/a 1", "f d2 2"], &["f .wh.d"]], &["f d2 2"]);
    check(&[&["d d", "f d/a 1", "d d/s", "f d/s/b 2"], &["f d/.wh..wh..opq"]], &["d d/"]);
    check(&[&["f a 1"], &["f .wh..wh..opq", "f b 2"]], &["f b 2"]);
    check(&[&["f a 1"], &["f .wh.nothing", "f no/.wh.x", "f a/.wh.x"]], &["f a 1"]);
    check(&[&["f a 1"], &["f .wh..wh.plnk", "f .wh..wh.aufs"]], &["f a 1"]);
    check(&[&["f a 1"], &["f .wh.a"], &["f a 3"]], &["f a 3"]);
    refused(&[&["f .wh."]], "a whiteout without a name");
    refused(&[&["f d/.wh..."]], "a whiteout without a name");
}

#[test]
fn whiteouts_never_affect_their_own_layer_wherever_they_stand() {
    for order in [["f d/b 2", "f d/.wh..wh..opq"], ["f d/.wh..wh..opq", "f d/b 2"]] {
        check(&[&["d d", "f d/a 1"], &order], &["d d/", "f d/b 2"]);
    }
    for order in [["f a 2", "f .wh.a"], ["f .wh.a", "f a 2"]] {
        check(&[&["f a 1"], &order], &["f a 2"]);
    }
    check(&[&["d d", "f d/a 1"], &["f d/b 2", "f .wh.d"]], &["d d/", "f d/b 2"]);
}

#[test]
fn types_replace_each_other_and_directories_merge() {
    check(&[&["d d", "f d/a 1"], &["f d 2"]], &["f d 2"]);
    check(&[&["f d 1"], &["d d", "f d/a 2"]], &["d d/", "f d/a 2"]);
    check(&[&["f d 1"], &["f d/a 2"]], &["d d/", "f d/a 2"]);
    check(&[&["d d", "f d/a 1"], &["d d"]], &["d d/", "f d/a 1"]);
    check(&[&["d d", "f d/a 1"], &["s d x"]], &["s d x"]);
    check(&[&["s d x"], &["d d", "f d/a 1"]], &["d d/", "f d/a 1"]);
    check(&[&["f a 1", "f a 2", "d a", "f a 3"]], &["f a 3"]);
    refused(&[&["f d 1", "f d/a 2"]], "below one of its own files");
}

#[test]
fn hard_links_stay_right_when_names_go() {
    check(&[&["f z 1", "h a z", "h m z"]], &["f a 1", "h m a", "h z a"]);
    // The name that was the file goes, the content does not.
    check(&[&["f a 1", "h b a", "h c a"], &["f .wh.a"]], &["f b 1", "h c b"]);
    check(&[&["f a 1", "h b a"], &["f .wh.a"], &["f a 2"]], &["f a 2", "f b 1"]);
    check(&[&["f a 1", "h b a", "f a 2"]], &["f a 2", "f b 1"]);
    check(&[&["f a 1"], &["h b /a"]], &["f a 1", "h b a"]);
    check(&[&["f a 1"], &["h b a", "f .wh.c"]], &["f a 1", "h b a"]);
    check(&[&["s a t", "h b a"]], &["s a t", "h b a"]);
    check(&[&["f e ", "h g e"]], &["f e", "h g e"]);
    refused(&[&["h b a", "f a 1"]], "not a file of the image");
    refused(&[&["d a", "h b a"]], "not a file of the image");
    refused(&[&["f a 1"], &["h b ../a"]], "..");
}

#[test]
fn the_header_of_a_hard_link_counts_for_the_file() {
    let mut bytes = layer(&["f a 1"]);
    bytes.truncate(1024);
    let link = Member { name: b"b", kind: EntryKind::HardLink, link: b"a", ..plain() };
    put(&mut bytes, &Member { mode: 0o4700, uid: 7, mtime: 9, ..link }, b"");
    write_end(&mut bytes).expect("a vector");
    let (out, _) = run(&vec![bytes], &options()).expect("flattened");
    let e = TarReader::new(out.as_slice()).next().expect("good").expect("a member");
    assert_eq!((e.kind, e.mode, e.uid, e.mtime), (EntryKind::Regular, 0o4700, 7, 9));
}

#[test]
fn links_in_parents_are_followed_inside_the_root() {
    let base: &[&str] = &["d usr", "d usr/lib", "f usr/lib/a 1", "s lib usr/lib"];
    check(
        &[base, &["f lib/b 2", "f lib/.wh.a"]],
        &["s lib usr/lib", "d usr/", "d usr/lib/", "f usr/lib/b 2"],
    );
    check(
        &[base, &["f lib/.wh..wh..opq", "h c lib/d", "f lib/d 3"][..1]],
        &["s lib usr/lib", "d usr/", "d usr/lib/"],
    );
    check(
        &[&["d etc", "s etc/out ../../../../x", "f etc/out/f 1"]],
        &["d etc/", "s etc/out ../../../../x", "d x/", "f x/f 1"],
    );
    check(&[&["s a /", "f a/b 1"]], &["s a /", "f b 1"]);
    check(
        &[base, &["h c lib/a"]],
        &["f c 1", "s lib usr/lib", "d usr/", "d usr/lib/", "h usr/lib/a c"],
    );
    refused(&[&["s a b", "s b a", "f a/x 1"]], "too many symbolic links");
    let chain = |n: usize| {
        let mut lines = vec!["d d0".to_string()];
        lines.extend((1..=n).map(|i| format!("s d{i} d{}", i - 1)));
        lines.push(format!("f d{n}/x 1"));
        vec![layer(&lines.iter().map(String::as_str).collect::<Vec<_>>())]
    };
    assert!(run(&chain(40), &options()).is_ok());
    assert!(run(&chain(41), &options()).is_err());
}

#[test]
fn names_that_climb_and_odd_roots_are_refused() {
    refused(&[&["f a/../b 1"]], "..");
    refused(&[&["f ../b 1"]], "..");
    refused(&[&["s . /etc"]], "root of a layer");
    check(&[&["f ..a 1", "f a..b 2"]], &["f ..a 1", "f a..b 2"]);
}

#[test]
fn metadata_survives() {
    let xattrs = vec![(b"security.capability".to_vec(), b"\x01\0\0\x02".to_vec())];
    let long = b"\xff\xe9".repeat(90);
    let mut bytes = Vec::new();
    put(
        &mut bytes,
        &Member {
            name: &long,
            size: 1,
            mode: 0o4755,
            uid: 1 << 31,
            gid: 5,
            mtime: -3,
            mtime_nanos: 17,
            xattrs: &xattrs,
            ..plain()
        },
        b"x",
    );
    let device = Member { name: b"null", kind: EntryKind::Char, major: 1, minor: 3, ..plain() };
    put(&mut bytes, &device, b"");
    write_end(&mut bytes).expect("a vector");
    let (out, _) = run(&vec![bytes], &options()).expect("flattened");
    let mut tar = TarReader::new(out.as_slice());
    let e = tar.next().expect("good").expect("first");
    assert_eq!((e.kind, e.major, e.minor), (EntryKind::Char, 1, 3));
    let e = tar.next().expect("good").expect("second");
    assert_eq!((e.name, e.mode, e.uid, e.gid), (long, 0o4755, 1 << 31, 5));
    assert_eq!((e.mtime, e.mtime_nanos), (-3, 17));
    let pax = e.pax.iter().find(|(k, _)| k == b"SCHILY.xattr.security.capability");
    assert_eq!(pax.map(|(_, v)| v), Some(&xattrs[0].1));
}

#[test]
fn unsorted_layers_go_through_the_temporary_file() {
    let layers = vec![layer(&["f z 26", "f b 2", "f a 1"])];
    let (out, summary) = run(&layers, &options()).expect("flattened");
    assert_eq!(list(&out), ["f a 1", "f b 2", "f z 26"]);
    assert_eq!(summary.spooled, 3);
    let layers = vec![layer(&["f a 1", "f c 3"]), layer(&["f b 2", "f d 4"])];
    let (_, summary) = run(&layers, &options()).expect("flattened");
    assert_eq!(summary.spooled, 0);
}

#[test]
fn output_stops_at_its_limit() {
    let layers = vec![layer(&["f a 1"])];
    let (out, _) = run(&layers, &options()).expect("flattened");
    let limit = |max_bytes| run(&layers, &Options { max_bytes, ..options() }).map(|_| ());
    assert!(limit(out.len() as u64).is_ok());
    let err = limit(out.len() as u64 - 1).expect_err("too large");
    assert_eq!(err.kind(), Kind::Unsupported);
}

#[test]
fn a_name_is_removed_once_however_many_whiteouts_say_so() {
    let n = 1_000;
    let mut lines: Vec<String> = (0..n).map(|i| format!("f d/{i} 1")).collect();
    lines.extend((0..n).map(|_| "f d/.wh..wh..opq".to_string()));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let layers = vec![layer(&lines), layer(&lines)];
    let tree = FileTree::build(&layers, &std::env::temp_dir()).expect("a tree");
    assert_eq!(tree.names.swept, n);
    assert_eq!(tree.contents().count(), n);
}

#[test]
fn long_names_in_the_temporary_file_come_in_the_same_order() {
    let name =
        |i: usize| format!("{}/{:04}{}", "d".repeat(200), (i * 7919) % 5_000, "n".repeat(3_000));
    let mut bytes = Vec::new();
    for i in 0..5_000 {
        put(&mut bytes, &Member { name: name(i).as_bytes(), ..plain() }, b"");
    }
    let link = name(17);
    let alias = Member { kind: EntryKind::HardLink, link: link.as_bytes(), name: b"a", ..plain() };
    put(&mut bytes, &alias, b"");
    write_end(&mut bytes).expect("a vector");
    let (out, _) = run(&vec![bytes], &options()).expect("flattened");
    let mut want: Vec<String> = (0..5_000).map(|i| format!("f {}", name(i))).collect();
    want.sort();
    let seventeenth = want.iter().position(|n| n[2..] == link).expect("it is there");
    want[seventeenth] = format!("h {link} a");
    want.insert(0, format!("d {}/", "d".repeat(200)));
    want.insert(0, "f a".to_owned());
    assert!(list(&out) == want);
}
