//! The `imgpack` command: parse, run, exit code.
//!
//! All terminal code is in this binary crate; the library prints nothing.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
