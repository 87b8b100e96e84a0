//! Builds what the binary embeds.

fn main() {}
