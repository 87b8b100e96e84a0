//! The controller as a process.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::{
    http::{ask, free_address},
    installation::{Installation, SYSTEM},
};

/// How often it is asked how far it is.
const POLL: Duration = Duration::from_millis(20);

/// It is settled when it has written nothing for so long.
const CALM: Duration = Duration::from_secs(3);

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// A running controller. Dropped, it is killed.
pub struct Controller {
    child: Child,
    admin: SocketAddr,
    began: Instant,
}

/// How it settled.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// How many writes it has made.
    pub writes: u64,
    /// The seconds from its start until it had begun with the last.
    pub last: f64,
    /// The seconds until it had nothing more to do.
    pub idle: f64,
}

impl Controller {
    /// Starts it, by the account and the settings of the installation.
    pub fn start(installation: &Installation) -> Self {
        let admin = free_address();
        let began = Instant::now();
        let child = Command::new(crate::binary())
            .args(["--log-format", "json", "controller", "--admin-listen", &admin.to_string()])
            .args(["--namespace", SYSTEM, "--pod-name", "webshell-controller-0", "--config"])
            .arg(installation.settings())
            .env("KUBECONFIG", installation.controller())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(&installation.file("controller.log")))
            .spawn()
            .unwrap();
        Self { child, admin, began }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many writes it has made.
    pub async fn writes(&self) -> u64 {
        sum(&self.metrics().await.unwrap(), "webshell_api_writes_total")
    }

    /// Waits until it has looked at as many namespaces and has nothing to do.
    pub async fn settled(&mut self, namespaces: u64) -> Settled {
        let mut settled = Settled { writes: 0, last: 0.0, idle: 0.0 };
        let mut busy = Instant::now();
        while busy.elapsed() < CALM {
            sleep(POLL).await;
            assert!(self.child.try_wait().unwrap().is_none(), "the controller has ended; see its log");
            assert!(self.began.elapsed() < PATIENCE, "the controller does not settle");
            let now = self.began.elapsed().as_secs_f64();
            let Some(metrics) = self.metrics().await else { continue };
            let writes = sum(&metrics, "webshell_api_writes_total");
            if writes > settled.writes {
                (settled.writes, settled.last) = (writes, now);
            }
            let queued = sum(&metrics, "webshell_reconcile_queue");
            let done = sum(&metrics, "webshell_reconciles_total");
            if queued > 0 || done < namespaces || settled.last == now {
                (busy, settled.idle) = (Instant::now(), now);
            }
        }
        settled
    }

    /// Stops it as a cluster does, and waits until it has ended.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    async fn metrics(&self) -> Option<String> {
        Some(ask(self.admin, "GET /metrics", &[], "").await?.body)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file to append to.
pub fn log(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

/// The sum of a metric over its labels.
fn sum(text: &str, name: &str) -> u64 {
    let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
