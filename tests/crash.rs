//! What a run leaves behind when it is killed, starved, cut off or crowded: `scripts/lib/sweep`
//! does the harm and looks at what is left, one section for each test here.

mod common;
mod hostile;

use std::process::Command;

/// Runs one section at the scale of `IMGPACK_TEST_SCALE`.
fn section(name: &str) {
    for tool in ["python3", "strace"] {
        if !common::have(tool) {
            return common::skip(&format!("{name}: needs {tool}"));
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/sweep");
    let mut command = Command::new("python3");
    command.args([script, "--imgpack", hostile::IMGPACK, name]);
    if hostile::scale(0, 1) == 1 {
        command.arg("--soak");
    }
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}:\n{said}{error}");
}

macro_rules! sections {
    ($($test:ident = $name:literal,)*) => {
        $(#[test]
        fn $test() {
            section($name);
        })*
    };
}

sections! {
    killed_at_every_system_call = "kill",
    killed_at_random_times = "random-kills",
    every_system_call_fails_once = "faults",
    bytes_are_flushed_before_they_are_named = "order",
    the_plug_is_pulled = "power",
    the_disk_is_full = "space",
    the_source_is_bad = "sources",
    signals_stop_a_run = "signals",
    readers_go_away = "pipes",
    many_processes_use_one_store = "crowd",
    locks_are_had_or_missed = "locks",
    names_never_collide = "names",
    stores_grow_large = "size",
    clocks_are_wrong = "clock",
}
