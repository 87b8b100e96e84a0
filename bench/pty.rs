//! What a pty of this machine gives to a program that only reads it: no way to a shell gets more through one.

use std::{io::Read, path::Path, time::Instant};

use crate::statistics::median;

/// MB/s of a file shown by `cat`, the median over so many rounds.
pub fn megabytes_per_second(file: &Path, rounds: usize) -> f64 {
    let rates: Vec<_> = (0..rounds).map(|_| rate(file)).collect();
    median(&rates)
}

fn rate(file: &Path) -> f64 {
    let (mut pty, pts) = pty_process::blocking::open().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let began = Instant::now();
    let mut cat = pty_process::blocking::Command::new("cat").arg(file).spawn(pts).unwrap();
    let mut length = 0;
    // Once nobody writes any more, reading it is an error.
    while let Ok(more @ 1..) = pty.read(&mut buffer) {
        length += more;
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!(cat.wait().unwrap().success());
    length as f64 / 1e6 / seconds
}
