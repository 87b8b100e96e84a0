//! The garbage collector of Kubernetes, for tests of who owns what.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use std::process::{Child, Command, Stdio};

use super::api_server::{ApiServer, command};

/// Runs the command line that it gets until its input ends: with the test's process at the latest, however that ends.
const SUPERVISOR: &str = r#"
    trap '' INT
    "$@" & collector=$!
    read -r _
    kill -KILL $collector
    wait
"#;

/// A running garbage collector. Dropped, it is killed.
pub struct GarbageCollector(Child);

impl GarbageCollector {
    /// One that collects what `server` has, once it has seen it all.
    pub fn start(server: &ApiServer) -> Self {
        let child = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(command("kube-controller-manager"))
            .arg(format!("--kubeconfig={}", server.kubeconfig().display()))
            .args(["--controllers=garbage-collector-controller", "--leader-elect=false", "--secure-port=0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for GarbageCollector {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
