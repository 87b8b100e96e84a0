//! The far side of the Ctrl-C measurement: a flood that notes when it was interrupted.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// Floods the terminal with `yes` until Ctrl-C, and writes down when that came: the microsecond of the system's clock.
pub fn flood(note: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).unwrap();
        // It is in the terminal's foreground too, and ends by the same Ctrl-C.
        let mut yes = Command::new("yes").spawn().unwrap();
        interrupt.recv().await;
        let now = clock();
        let unfinished = note.with_extension("unfinished");
        fs::write(&unfinished, now.to_string()).unwrap();
        fs::rename(unfinished, note).unwrap();
        yes.wait().unwrap();
    });
}

/// The microsecond of the system's clock.
pub fn clock() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}
