//! The `webshell` command.

fn main() {}
