//! The `imgpack` command.
fn main() {}
