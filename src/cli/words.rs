//! Docker's longer words: `image ls` is `images`, `image rm` is `rmi`, `image save` is `save`.

use std::ffi::OsString;

use clap::Command;

/// What was typed, with `image VERB` as the verb it means.
pub(crate) fn read(command: &Command, mut typed: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = verb_at(command, &typed) else { return typed };
    if typed[at] != "image" {
        return typed;
    }
    let verb = match typed.get(at + 1).and_then(|w| w.to_str()) {
        Some("ls" | "list") => "images",
        Some("rm" | "remove") => "rmi",
        Some(same @ ("save" | "load" | "import" | "inspect" | "history" | "tag" | "prune")) => same,
        _ => return typed,
    };
    let verb = OsString::from(verb);
    typed.splice(at..at + 2, [verb]);
    typed
}

/// Where the verb is: the first word that is neither a flag nor a flag's value.
pub(crate) fn verb_at(command: &Command, typed: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = typed.get(at).map(|w| w.to_string_lossy()) {
        if !word.starts_with('-') {
            return Some(at);
        }
        let takes_value = command.get_arguments().any(|arg| {
            let long = arg.get_long().is_some_and(|l| word.strip_prefix("--") == Some(l));
            let short = arg.get_short().is_some_and(|s| word == format!("-{s}"));
            (long || short) && arg.get_action().takes_values()
        });
        at += if takes_value { 2 } else { 1 };
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn dockers_longer_words_mean_the_short_ones() {
        let command = crate::cli::verb::Cli::command();
        for (typed, want) in [
            ("imgpack image ls -q", "imgpack images -q"),
            ("imgpack --store x image rm a", "imgpack --store x rmi a"),
            ("imgpack -j 2 --no-sync image save a", "imgpack -j 2 --no-sync save a"),
            ("imgpack save image ls", "imgpack save image ls"),
            ("imgpack image", "imgpack image"),
            ("imgpack", "imgpack"),
        ] {
            let typed = typed.split(' ').map(OsString::from).collect();
            let want: Vec<OsString> = want.split(' ').map(OsString::from).collect();
            assert_eq!(read(&command, typed), want);
        }
    }
}
