//! Docker archives that must be refused.

use serde_json::{Value, json};

use super::{Case, bytes, check, refuse};
use crate::common::image::{Docker, Image, Oci, config, gzip, layer};
use crate::common::tarball::{Tar, header, sum};
use crate::common::{hex, sha256};

fn good() -> Docker {
    Docker::foldered(&Image::small(), "case:1")
}

/// The good archive with its table changed.
fn table(name: &'static str, change: impl Fn(&mut Value)) -> Case {
    let mut archive = good();
    change(&mut archive.items);
    refuse(name, bytes(archive.tar()))
}

/// The good archive with this text as manifest.json.
fn manifest(name: &'static str, text: impl AsRef<[u8]>) -> Case {
    refuse(name, bytes(good().body().file("manifest.json", text.as_ref()).end()))
}

/// The good archive with its config changed.
fn configured(name: &'static str, change: impl Fn(&mut Value)) -> Case {
    let mut image = Image::small();
    let mut config: Value = serde_json::from_slice(&image.config).unwrap();
    change(&mut config);
    image.config = config.to_string().into_bytes();
    refuse(name, bytes(Docker::foldered(&image, "case:1").tar()))
}

/// An archive whose first layer is whatever `add` puts under its name.
fn member(name: &'static str, add: impl Fn(Tar) -> Tar) -> Case {
    let archive = good();
    let mut tar = Tar::new();
    for (member, body) in archive.members.iter().filter(|(n, _)| n != "0/layer.tar") {
        tar = tar.file(member, body);
    }
    let tar = add(tar).file("manifest.json", archive.items.to_string());
    refuse(name, bytes(tar.end()))
}

fn tagged(name: &'static str, tag: &str) -> Case {
    refuse(name, bytes(Docker::foldered(&Image::small(), tag).tar())).says("reference")
}

#[test]
fn tables() {
    check(vec![
        refuse("da-empty-file", bytes(Vec::new())),
        refuse("da-empty-tar", bytes(Tar::new().end())),
        refuse("da-not-a-tar", bytes(b"hello, world\n".repeat(100))),
        refuse("da-no-manifest", bytes(good().body().end())),
        manifest("da-manifest-empty-array", "[]").says("holds no images"),
        manifest("da-manifest-object", "{}"),
        manifest("da-manifest-null", "null"),
        manifest("da-manifest-string", "\"x\""),
        manifest("da-manifest-nested-array", "[[]]"),
        manifest("da-manifest-not-json", "not json"),
        manifest("da-manifest-bom", "\u{feff}[]"),
        manifest("da-manifest-trailing", format!("{}x", good().items)),
        manifest("da-manifest-two-values", format!("{0}{0}", good().items)),
        manifest("da-manifest-nul", "\0\0\0"),
        manifest("da-manifest-not-utf8", b"[{\"Config\":\"\xff\"}]"),
        manifest("da-manifest-deep-json", "[".repeat(100_000)).says("recursion"),
        manifest(
            "da-manifest-dup-keys",
            good().items.to_string().replacen("\"Config\"", "\"Config\":\"x\",\"Config\"", 1),
        )
        .says("ambiguous"),
        manifest(
            "da-manifest-case-keys",
            good().items.to_string().replacen("\"Config\"", "\"config\":\"x\",\"Config\"", 1),
        )
        .says("ambiguous"),
        table("da-config-missing-field", |t| drop(t[0].as_object_mut().unwrap().remove("Config"))),
        table("da-config-null", |t| t[0]["Config"] = Value::Null),
        table("da-config-number", |t| t[0]["Config"] = json!(5)),
        table("da-config-empty", |t| t[0]["Config"] = json!("")),
        table("da-config-absent", |t| t[0]["Config"] = json!("absent.json")).says("missing"),
        table("da-config-traversal", |t| t[0]["Config"] = json!("../../outside/secret")),
        table("da-layers-missing-field", |t| {
            drop(t[0].as_object_mut().unwrap().remove("Layers"));
        }),
        table("da-layers-string", |t| t[0]["Layers"] = json!("0/layer.tar")),
        table("da-layers-numbers", |t| t[0]["Layers"] = json!([1, 2])),
        table("da-layers-null-item", |t| t[0]["Layers"] = json!([null, null])),
        table("da-layers-swapped", |t| t[0]["Layers"].as_array_mut().unwrap().reverse())
            .says("found"),
        table("da-layers-too-few", |t| t[0]["Layers"] = json!(["0/layer.tar"])).says("layers"),
        table("da-layers-too-many", |t| {
            t[0]["Layers"].as_array_mut().unwrap().push(json!("0/layer.tar"));
        }),
        table("da-layers-absent", |t| t[0]["Layers"][0] = json!("absent")).says("missing"),
        table("da-layers-empty-name", |t| t[0]["Layers"][0] = json!("")),
        table("da-layerpath-dotdot", |t| t[0]["Layers"][0] = json!("../0/layer.tar")),
        table("da-layerpath-inner-dotdot", |t| t[0]["Layers"][0] = json!("1/../0/layer.tar")),
        table("da-layerpath-absolute", |t| t[0]["Layers"][0] = json!("/etc/passwd")),
        table("da-layerpath-nul", |t| t[0]["Layers"][0] = json!("0/layer.tar\0")),
        table("da-layerpath-long", |t| t[0]["Layers"][0] = json!("x".repeat(4097))),
        table("da-layerpath-ansi", |t| t[0]["Layers"][0] = json!("\u{1b}[2J\u{202e}\n")),
        table("da-tags-string", |t| t[0]["RepoTags"] = json!("x:1")),
        table("da-tags-numbers", |t| t[0]["RepoTags"] = json!([1])),
        table("da-one-tag-two-images", |t| {
            let mut other = t[0].clone();
            other["Layers"].as_array_mut().unwrap().reverse();
            t.as_array_mut().unwrap().push(other);
        }),
        table("da-second-image-broken", |t| {
            let mut other = t[0].clone();
            other["RepoTags"] = json!(["other:1"]);
            other["Layers"][0] = json!("absent");
            t.as_array_mut().unwrap().push(other);
        }),
    ]);
}

#[test]
fn configs() {
    let raw = |name: &'static str, text: &[u8]| {
        let mut image = Image::small();
        image.config = text.to_vec();
        refuse(name, bytes(Docker::foldered(&image, "case:1").tar()))
    };
    let id = |name: &'static str, id: &'static str| {
        configured(name, move |c| c["rootfs"]["diff_ids"][0] = json!(id))
    };
    let deep = format!("{{\"a\":{}", "[".repeat(50_000));
    check(vec![
        raw("da-config-empty-file", b""),
        raw("da-config-not-json", b"not json"),
        raw("da-config-array", b"[]"),
        raw("da-config-null-document", b"null"),
        raw("da-config-deep-json", deep.as_bytes()),
        raw("da-config-trailing", b"{} {}"),
        raw("da-config-dup-keys", br#"{"rootfs":{"diff_ids":[]},"rootfs":{"diff_ids":[]}}"#),
        raw("da-config-case-keys", br#"{"rootfs":{"diff_ids":[]},"Rootfs":{"diff_ids":[]}}"#),
        configured("da-config-no-rootfs", |c| drop(c.as_object_mut().unwrap().remove("rootfs"))),
        configured("da-config-rootfs-array", |c| c["rootfs"] = json!([])),
        configured("da-config-diffids-string", |c| c["rootfs"]["diff_ids"] = json!("x")),
        configured("da-config-diffids-few", |c| c["rootfs"]["diff_ids"] = json!([])),
        configured("da-diffid-mismatch", |c| {
            c["rootfs"]["diff_ids"][0] = json!(sha256(b"something else"));
        })
        .says("found"),
        id("da-diffid-traversal", "sha256:../../../../outside/secret"),
        id("da-diffid-short", "sha256:abcd"),
        id("da-diffid-md5", "md5:d41d8cd98f00b204e9800998ecf8427e"),
        id("da-diffid-empty", ""),
        id(
            "da-diffid-uppercase",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        ),
        id(
            "da-diffid-newline",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
        ),
    ]);
}

#[test]
fn names() {
    check(vec![
        tagged("da-tag-ansi", "x:\u{1b}]52;c;aGk=\u{7}"),
        tagged("da-tag-newline", "x:1\nLoaded image: evil:1"),
        tagged("da-tag-uppercase", "Nginx:1"),
        tagged("da-tag-leading-dash", "-rf:1"),
        tagged("da-tag-space", "a b:1"),
        tagged("da-tag-nul", "x:1\0"),
        tagged("da-tag-bidi", "x:\u{202e}1"),
        tagged("da-tag-traversal", "../../x:1"),
        tagged("da-tag-empty", ""),
        tagged("da-tag-too-long", &format!("x:{}", "t".repeat(129))),
        tagged("da-name-too-long", &format!("{}:1", "n".repeat(256))),
        tagged("da-tag-html", "<script>:1"),
    ]);
}

#[test]
fn members() {
    let one = layer("one");
    let secret = "../../../../outside/secret";
    let traversal =
        |name: &str| good().body().file(name, "x").file("manifest.json", good().items.to_string());
    let twice = |name: &str, body: &str| {
        let tar = good().body().file("manifest.json", good().items.to_string());
        bytes(tar.file(name, body).end())
    };
    let mut second = good().tar();
    second.extend_from_slice(&Docker::foldered(&Image::plain(&[layer("b")]), "b:1").tar());
    let mut sum = good().tar();
    sum[150] ^= 1;
    check(vec![
        member("da-layer-is-fifo", |t| t.member(b"0/layer.tar", b'6', b"", b"")),
        member("da-layer-is-chardev", |t| t.member(b"0/layer.tar", b'3', b"", b"")),
        member("da-layer-is-blockdev", |t| t.member(b"0/layer.tar", b'4', b"", b"")),
        member("da-layer-is-dir", |t| t.dir("0/layer.tar")),
        member("da-layer-symlink-out", move |t| t.symlink("0/layer.tar", secret)),
        member("da-layer-symlink-absolute", |t| t.symlink("0/layer.tar", "/etc/passwd")),
        member("da-layer-symlink-self", |t| t.symlink("0/layer.tar", "layer.tar")),
        member("da-layer-symlink-cycle", |t| {
            t.symlink("0/layer.tar", "../a").symlink("a", "b").symlink("b", "a")
        }),
        member("da-layer-symlink-dangling", |t| t.symlink("0/layer.tar", "../absent")),
        member("da-layer-hardlink-out", move |t| t.hard_link("0/layer.tar", secret)),
        member("da-layer-hardlink-absolute", |t| t.hard_link("0/layer.tar", "/etc/passwd")),
        member("da-layer-hardlink-self", |t| t.hard_link("0/layer.tar", "0/layer.tar")),
        member("da-dir-symlink-out", {
            let one = one.clone();
            move |t| t.symlink("0", "../../outside").file("0/other", &one)
        }),
        {
            let name = format!("{}.json", hex(&Image::small().config));
            let tar = Tar::new()
                .member(name.as_bytes(), b'3', b"", b"")
                .file("0/layer.tar", layer("one"))
                .file("1/layer.tar", layer("two"))
                .file("manifest.json", good().items.to_string());
            refuse("da-config-is-device", bytes(tar.end()))
        },
        {
            let tar = good().body().symlink("manifest.json", secret);
            refuse("da-manifest-symlink-secret", bytes(tar.end()))
        },
        {
            let tar = good().body().member(b"manifest.json", b'6', b"", b"");
            refuse("da-manifest-is-fifo", bytes(tar.end()))
        },
        refuse("da-member-traversal", bytes(traversal("../evil").end())),
        refuse("da-member-traversal-inner", bytes(traversal("a/../../evil").end())),
        refuse("da-dup-manifest", twice("manifest.json", "[]")).says("ambiguous"),
        refuse("da-dup-layer", twice("0/layer.tar", "other")).says("ambiguous"),
        refuse("da-dup-layer-dotslash", twice("./0/layer.tar", "other")).says("ambiguous"),
        refuse("da-second-archive-after-eof", bytes(second)).says("ambiguous"),
        refuse("da-bad-checksum", bytes(sum)),
        {
            let layout =
                Oci::one(&Image::plain(&[layer("other")]), Some("docker.io/library/case:1"));
            let mut tar = layout.body().file("x", "").file("index.json", layout.index_json());
            for (name, body) in good().members {
                tar = tar.file(name, body);
            }
            let tar = tar.file("manifest.json", good().items.to_string());
            refuse("da-hybrid-disagree", bytes(tar.end())).says("ambiguous")
        },
    ]);
}

/// Headers about which readers are known to disagree.
#[test]
fn headers() {
    let archive = good();
    let lead = || Tar::new();
    let rest = move |mut tar: Tar| {
        for (name, body) in &archive.members {
            tar = tar.file(name, body);
        }
        bytes(tar.file("manifest.json", archive.items.to_string()).end())
    };
    let sized = |size: &[u8; 12]| {
        let mut h = header(b"a", b'0', 0, b"");
        h[124..136].copy_from_slice(size);
        sum(&mut h);
        lead().raw(&h)
    };
    let inner = good().tar();
    let mut pax_then_long = lead().pax(&[("size", "2048")]);
    pax_then_long = pax_then_long.long(b'L', b"0/layer.tar").member(b"x", b'0', b"x", b"");
    let sparse = {
        let mut h = header(b"s", b'S', 512, b"");
        h[257..265].copy_from_slice(b"ustar  \0");
        h[386..398].copy_from_slice(b"00000000000\0");
        h[398..410].copy_from_slice(b"00000001000\0");
        h[483..495].copy_from_slice(b"77777777777\0");
        sum(&mut h);
        lead().raw(&h).raw(&[7; 512])
    };
    let map_bomb = {
        let mut h = header(b"s", b'S', 0, b"");
        h[257..265].copy_from_slice(b"ustar  \0");
        h[482] = 1;
        h[483..495].copy_from_slice(b"77777777777\0");
        sum(&mut h);
        let mut more = [0u8; 512];
        more[504] = 1;
        let mut tar = lead().raw(&h);
        for _ in 0..5_000 {
            tar = tar.raw(&more);
        }
        tar
    };
    let paxed = |body: &[u8]| lead().member(b"p", b'x', body, b"").file("a", "x");
    check(vec![
        refuse(
            "da-size-negative",
            rest(sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        ),
        refuse("da-size-huge", rest(sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"))),
        refuse("da-size-not-octal", rest(sized(b"99999999999\0"))),
        refuse("da-size-past-end", rest(sized(b"77777777777\0"))),
        refuse("da-sparse-bomb", rest(sparse)).says("sparse"),
        refuse("da-sparse-map-bomb", rest(map_bomb)),
        refuse(
            "da-sparse-pax",
            rest(
                lead()
                    .pax(&[
                        ("GNU.sparse.major", "1"),
                        ("GNU.sparse.minor", "0"),
                        ("GNU.sparse.name", "0/layer.tar"),
                        ("GNU.sparse.realsize", "1099511627776"),
                    ])
                    .file("s", "1\n0\n1\n"),
            ),
        ),
        refuse("da-longname-bomb", rest(lead().long(b'L', &vec![b'x'; 2 << 20]).file("a", "x"))),
        refuse("da-longname-claim", {
            let h = header(b"././@LongLink", b'L', 1 << 40, b"");
            rest(lead().raw(&h))
        }),
        refuse("da-pax-size-conflict", rest(lead().pax(&[("size", "9999999")]).file("a", "x"))),
        // The header says 0 bytes, the extended header says the body holds another archive.
        refuse("da-tarmageddon-short", {
            let mut tar = lead().pax(&[("size", "0")]);
            tar = tar.file("a", &inner);
            rest(tar)
        }),
        refuse("da-pax-longname-desync", rest(pax_then_long)),
        refuse("da-pax-no-newline", rest(paxed(b"9 path=xx"))),
        refuse("da-pax-no-equals", rest(paxed(b"8 path x\n"))),
        refuse("da-pax-length-zero", rest(paxed(b"0 path=x\n"))),
        refuse("da-pax-length-short", rest(paxed(b"5 path=xxxxx\n"))),
        refuse("da-pax-length-long", rest(paxed(b"99999 path=x\n"))),
        refuse("da-pax-length-text", rest(paxed(b"x path=x\n"))),
        refuse("da-pax-size-text", rest(lead().pax(&[("size", "-1")]).file("a", "x"))),
        refuse("da-pax-path-nul", rest(paxed(b"12 path=a\0bc\n"))),
        refuse("da-pax-at-end", bytes(good().body().pax(&[("path", "x")]).end())),
        refuse("da-long-at-end", bytes(good().body().long(b'L', b"x").end())),
        refuse("da-name-4097", rest(lead().file("d/".repeat(2049), "x"))),
    ]);
}

/// Layers that do not decode to what the config says.
#[test]
fn layers() {
    let image = || Image::small().packed("gzip", gzip);
    let changed = |name: &'static str, change: fn(&mut Vec<u8>)| {
        let mut image = image();
        change(&mut image.layers[1]);
        refuse(name, bytes(Docker::foldered(&image, "case:1").tar()))
    };
    let plain = |name: &'static str, change: fn(&mut Vec<u8>)| {
        let mut image = Image::small();
        change(&mut image.layers[0]);
        refuse(name, bytes(Docker::foldered(&image, "case:1").tar()))
    };
    let bomb = || {
        let zeros = gzip(&vec![0; 16 << 20]);
        let mut image = Image::plain(&[]);
        image.config = config(&[sha256(b"never reached")]).to_string().into_bytes();
        image.layers = vec![zeros.repeat(64)];
        bytes(Docker::foldered(&image, "bomb:1").tar())
    };
    check(vec![
        plain("da-layer-bitflip", |l| l[600] ^= 1).says("found"),
        plain("da-layer-cut", |l| l.truncate(700)),
        plain("da-layer-grown", |l| l.push(0)),
        plain("da-layer-emptied", Vec::clear),
        changed("da-gz-bad-crc", |l| {
            let n = l.len();
            l[n - 6] ^= 1;
        })
        .says("checksum"),
        changed("da-gz-bad-length", |l| {
            let n = l.len();
            l[n - 1] ^= 1;
        }),
        changed("da-gz-broken-deflate", |l| l[12] ^= 0xff),
        changed("da-gz-trunc", |l| l.truncate(l.len() - 9)),
        changed("da-gz-reserved-flags", |l| l[3] = 0x80),
        changed("da-gz-trailing", |l| l.extend_from_slice(b"trailing")),
        changed("da-gz-second-member-broken", |l| l.extend_from_slice(&[0x1f, 0x8b, 8, 0])),
        refuse("da-gz-bomb-layer", bomb())
            .flags(&["--max-layer-size", "10000000"])
            .says("larger than"),
        refuse("da-gz-bomb-layer-read-through", bomb()).says("found"),
    ]);
}
