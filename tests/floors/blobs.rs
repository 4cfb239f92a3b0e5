//! No byte leaves a source unverified: only a blob makes the token that opens one.

use crate::source::sources;

#[test]
fn only_a_blob_opens_a_source() {
    let mut makers = Vec::new();
    for source in sources() {
        for line in source.code.lines().filter(|l| l.contains("Checked(()")) {
            makers.push((source.module.clone(), line.trim().to_owned()));
        }
    }
    let elsewhere: Vec<_> = makers.iter().filter(|(module, _)| module != "transport").collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    // Its definition, and the one place where a blob opens.
    assert_eq!(makers.len(), 2, "{makers:?}");
    let text = sources().into_iter().find(|s| s.module == "transport").unwrap().text;
    assert!(text.contains("pub struct Checked(());"), "the token's field must stay private");
}
