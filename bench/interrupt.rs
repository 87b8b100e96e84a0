//! How long after Ctrl-C, under a flood, the program has it and the prompt is back.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout_at};

use crate::{
    remote::clock,
    results::{Consumer, Measure, Results},
    site::{Route, Site},
    terminal::{Pace, PromptWatch, Terminal},
};

/// How long the flood lasts before the Ctrl-C: every buffer on the way is full by then.
const FLOOD: Duration = Duration::from_secs(1);

/// When waiting for an answer is given up.
pub const GIVE_UP: Duration = Duration::from_secs(15);

/// Interrupts a flood that is consumed in each of the ways.
pub async fn measure(route: &Route<'_>, site: &Site, results: &mut Results) {
    for consumer in Consumer::ALL {
        let note = site.file("interrupted");
        let _ = fs::remove_file(&note);
        let mut terminal = route.open().await;
        let program = std::env::current_exe().unwrap();
        terminal.send(&format!("{} flood {}\r", program.display(), note.display())).await;
        let mut pace = Pace::new(consumer.bytes_per_second());
        consume(&mut terminal, &mut pace, consumer).await;

        let pressed = clock();
        let began = Instant::now();
        terminal.send("\x03").await;
        if consumer != Consumer::Stopped {
            let back = prompt_back(&mut terminal, &mut pace, began).await;
            results.add(Measure::PromptBack(consumer), route.way, back);
        }
        results.add(Measure::Interrupt(consumer), route.way, noted(&note, pressed, began).await);
    }
}

/// Lets the flood run for a while.
async fn consume(terminal: &mut Terminal, pace: &mut Pace, consumer: Consumer) {
    let end = Instant::now() + FLOOD;
    if consumer == Consumer::Stopped {
        terminal.receive().await;
        return sleep(FLOOD).await;
    }
    while Instant::now() < end {
        let length = terminal.receive().await.len();
        pace.take(length).await;
    }
}

/// Seconds until the prompt has been consumed.
async fn prompt_back(terminal: &mut Terminal, pace: &mut Pace, began: Instant) -> f64 {
    let mut watch = PromptWatch::default();
    let deadline = (began + GIVE_UP).into();
    while let Ok(output) = timeout_at(deadline, terminal.receive()).await {
        if timeout_at(deadline, pace.take(output.len())).await.is_err() {
            break;
        }
        if watch.saw(&output) {
            return began.elapsed().as_secs_f64();
        }
    }
    f64::INFINITY
}

/// Seconds from `pressed` to what the program wrote down.
async fn noted(note: &Path, pressed: u128, began: Instant) -> f64 {
    loop {
        if let Ok(noted) = fs::read_to_string(note) {
            return noted.parse::<u128>().unwrap().saturating_sub(pressed) as f64 / 1e6;
        }
        if began.elapsed() > GIVE_UP {
            return f64::INFINITY;
        }
        sleep(Duration::from_millis(5)).await;
    }
}
