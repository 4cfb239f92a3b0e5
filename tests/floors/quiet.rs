//! What the library leaves to others: sockets to the server, the terminal, the environment and the clock to
//! the command line, and I/O to the floors above the words.

use crate::source::{library, sources};
use crate::table::entry;

#[test]
fn only_the_sockets_of_the_server_are_asynchronous() {
    let mut users: Vec<String> = Vec::new();
    for source in sources() {
        if ["tokio::", "hyper::", "hyper_util::", "async fn", ".await"]
            .iter()
            .any(|w| source.code.contains(w))
        {
            users.push(source.module.clone());
        }
    }
    assert!(users.iter().any(|module| module == "serve::http"), "{users:?}");
    users.retain(|module| module != "serve::http" && !module.starts_with("serve::http::"));
    assert!(users.is_empty(), "{users:?}");
}

#[test]
fn the_library_neither_prints_nor_exits_nor_reads_the_environment() {
    let banned = [
        "println!",
        "eprintln!",
        "print!(",
        "dbg!",
        "process::exit",
        "std::env::var",
        "env::args",
        "env::current_dir",
        "env::temp_dir",
        "std::io::stderr",
        "SystemTime::now",
        "panic = ",
        "clap::",
        "indicatif::",
    ];
    let mut wrong = Vec::new();
    for source in library() {
        for line in source.code.lines() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}: {word} in: {}", source.module, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn words_do_no_io() {
    let banned = ["std::fs", "std::net", "std::thread", "std::process", "rayon", "File::"];
    for source in sources().iter().filter(|s| entry(&s.module).is_some_and(|(_, f)| f <= 1)) {
        for word in banned {
            assert!(!source.code.contains(word), "{} uses {word}", source.module);
        }
    }
}
