//! The table of the resolver: what each kind of word means under each rule.

use serde_json::{Value, json};

use super::*;
use crate::error::Kind;
use crate::tests::Memory;

/// A place whose images differ in their configs only.
#[derive(Default)]
struct Place(Memory);

impl Place {
    /// Adds an image whose config says `what`; its ID.
    fn image(&mut self, what: &str, names: &[&str], label: Option<&str>) -> Digest {
        let config = json!({"architecture": "amd64", "author": what, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []}});
        let desc = self.0.image(&config, &[], &Value::Null);
        self.0.name(&desc, names).label = label.map(str::to_owned);
        Digest::of(config.to_string().as_bytes())
    }

    /// What a word means: for each image its position and the names that are meant.
    fn meant(&self, word: &str, rule: Rule) -> String {
        match find(&self.0, word, rule, &Context::default()) {
            Err(e) if e.kind() == Kind::Missing => "-".into(),
            Err(e) => format!("{:?}", e.kind()),
            Ok(found) => {
                let at = |root: &Root| {
                    self.0.roots.iter().position(|r| r.desc.digest == root.desc.digest).unwrap()
                };
                let one = |found: &FoundImage<'_>| {
                    let names = found.names.iter().map(|name| format!(" {}", name.familiar()));
                    format!("{}{}", at(found.root), names.collect::<String>())
                };
                found.iter().map(one).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

#[test]
fn each_rule_has_its_meaning_of_each_kind_of_word() {
    let mut place = Place::default();
    let id = place.image("a", &["nginx:1", "nginx:2", "fx/a:1"], None);
    place.image("b", &["redis:latest", "redis:7"], None);
    let labelled = place.image("c", &[], Some("any words"));
    place.image("d", &["fx/d:deadbeef"], None);
    let digest = |at: usize| place.0.roots[at].desc.digest;
    let (a, b) = (digest(0), digest(1));
    let pinned = format!("nginx@{a}");
    let meant = format!("0 {pinned}");
    for (word, docker, every, skopeo) in [
        // A repository alone.
        ("nginx", "-", "0 nginx:1 nginx:2", "-"),
        ("redis", "1 redis:latest", "1 redis:latest redis:7", "1 redis:latest"),
        ("docker.io/library/redis", "1 redis:latest", "1 redis:latest redis:7", "1 redis:latest"),
        ("fx/a", "-", "0 fx/a:1", "-"),
        ("nope", "-", "-", "-"),
        // A tag.
        ("nginx:1", "0 nginx:1", "0 nginx:1", "0 nginx:1"),
        ("nginx:3", "-", "-", "-"),
        ("redis:latest", "1 redis:latest", "1 redis:latest", "1 redis:latest"),
        // A digest: docker's with its repository, before which a tag counts for nothing.
        (&pinned, &meant, &meant, "0 nginx:1 nginx:2 fx/a:1"),
        (&format!("nginx:9@{a}"), &meant, &meant, "0 nginx:1 nginx:2 fx/a:1"),
        (&format!("redis@{a}"), "-", "-", "0 nginx:1 nginx:2 fx/a:1"),
        (&format!("nginx:1@{b}"), "-", "-", "1 redis:latest redis:7"),
        (&a.to_string(), "0", "0", "0 nginx:1 nginx:2 fx/a:1"),
        (&format!("@{a}"), "-", "-", "0 nginx:1 nginx:2 fx/a:1"),
        // An ID, and the start of one.
        (&id.to_string(), "0", "0", "0"),
        (&id.hex(), "0", "0", "0"),
        (&id.hex()[..12], "0", "0", "0"),
        (&id.hex()[..12].to_uppercase(), "0", "0", "0"),
        (&format!("sha256:{}", &id.hex()[..12]), "0", "0", "0"),
        (&labelled.hex(), "2", "2", "2"),
        ("deadbeef", "-", "-", "3 fx/d:deadbeef"),
        // What only skopeo has.
        ("any words", "-", "-", "2"),
        ("7", "-", "-", "1 redis:latest redis:7"),
        ("@1", "-", "-", "1 redis:latest redis:7"),
        ("@9", "-", "-", "-"),
        ("", "-", "-", "-"),
    ] {
        assert_eq!(place.meant(word, Rule::Docker), docker, "docker: {word:?}");
        assert_eq!(place.meant(word, Rule::EveryTag), every, "every tag: {word:?}");
        assert_eq!(place.meant(word, Rule::Skopeo), skopeo, "skopeo: {word:?}");
    }
}

#[test]
fn a_name_goes_before_an_id_and_what_may_be_two_images_is_refused() {
    let mut place = Place::default();
    let id = place.image("a", &[], None);
    let start = id.hex()[..6].to_owned();
    assert_eq!(place.meant(&start, Rule::Docker), "0");
    place.image("b", &[&start], None);
    place.0.roots[1].names = vec![format!("{start}:latest").parse().unwrap()];
    assert_eq!(place.meant(&start, Rule::Docker), format!("1 {start}:latest"));
    // Sixteen more images: two begin with the same digit.
    for n in 0..17 {
        place.image(&format!("n{n}"), &["twice:1"], None);
    }
    let digits: Vec<char> = "0123456789abcdef".chars().collect();
    let ambiguous = |d: &&char| place.meant(&d.to_string(), Rule::Docker) == "Malformed";
    assert!(digits.iter().any(|d| ambiguous(&d)));
    for rule in [Rule::Docker, Rule::Skopeo] {
        assert_eq!(place.meant("twice:1", rule), "Malformed", "{rule:?}");
    }
}

#[test]
fn exactly_means_no_short_form_and_the_digest_decides() {
    let mut place = Place::default();
    place.image("a", &["nginx:1", "redis:latest"], None);
    place.image("b", &["nginx:2"], None);
    let exact = Exact::of(&place.0.roots);
    let find = |text: &str| exact.find(&text.parse().unwrap());
    assert_eq!(find("nginx:2"), Some(1));
    assert_eq!(find("redis"), None);
    let digest = place.0.roots[1].desc.digest;
    assert_eq!(find(&format!("other:9@{digest}")), Some(1));
    let gone = Digest::from_hex(&"0".repeat(64)).unwrap();
    assert_eq!(find(&format!("nginx:1@{gone}")), None);
}
