//! The figures to reach, each held against what was measured.

use std::fmt::Write as _;

/// A figure to reach.
pub struct Goal {
    pub what: String,
    pub wanted: String,
    pub got: String,
    pub reached: bool,
}

/// All of them, as a Markdown table.
pub fn table(goals: &[Goal]) -> String {
    let mut text = String::from("| | wanted | measured | |\n|---|---|---:|---|\n");
    for Goal { what, wanted, got, reached } in goals {
        writeln!(text, "| {what} | {wanted} | {got} | {} |", if *reached { "reached" } else { "**missed**" }).unwrap();
    }
    text
}
