//! What the API server says of itself: which writes it was asked for, and what they cost it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, process,
};

use hyper::http::Request;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, Client, api::ListParams};

use crate::process::cpu_seconds;

/// The verbs of requests that write.
const WRITES: [&str; 7] = ["APPLY", "CREATE", "DELETE", "DELETECOLLECTION", "PATCH", "POST", "PUT"];

/// By whom the controller's Events are reported.
const REPORTER: &str = "webshell.dev/controller";

/// How many writes it was asked for.
pub struct Counts {
    /// By verb and resource.
    writes: BTreeMap<(String, String), u64>,
    /// The versions of the Events that the controller has written. The API server writes some itself.
    events: BTreeSet<String>,
}

impl Counts {
    /// As they are now.
    pub async fn read(client: &Client) -> Self {
        let text = client.request_text(Request::get("/metrics").body(Vec::new()).unwrap()).await.unwrap();
        let mut counts = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let (labels, count) = line.rsplit_once("} ").unwrap();
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
                rest.split('"').next().unwrap().to_owned()
            };
            if WRITES.contains(&label(",verb").as_str()) {
                *counts.entry((label(",verb"), label(",resource"))).or_default() +=
                    count.parse::<f64>().unwrap() as u64;
            }
        }
        let events = Api::<Event>::all(client.clone()).list(&ListParams::default()).await.unwrap();
        let ours = events.items.into_iter().filter(|event| event.reporting_controller.as_deref() == Some(REPORTER));
        Self { writes: counts, events: ours.filter_map(|event| event.metadata.resource_version).collect() }
    }

    /// The writes since `before` that are no renewals of a Lease, by verb and resource; of Events the controller's alone.
    pub fn since(&self, before: &Self) -> Vec<(String, u64)> {
        let others = self.writes.iter().filter(|((_, resource), _)| !matches!(resource.as_str(), "leases" | "events"));
        let new = others.map(|(key, count)| (format!("{} {}", key.0, key.1), count - before.get(key)));
        let events = self.events.difference(&before.events).count() as u64;
        new.chain([("Events".to_owned(), events)]).filter(|(_, count)| *count > 0).collect()
    }

    /// How often a Lease was renewed since `before` as the controller does it, by a patch; the API server replaces its own.
    pub fn renewals_since(&self, before: &Self) -> u64 {
        let patches = ["APPLY", "PATCH"].map(|verb| (verb.to_owned(), "leases".to_owned()));
        patches.iter().map(|key| self.get(key) - before.get(key)).sum()
    }

    fn get(&self, key: &(String, String)) -> u64 {
        self.writes.get(key).copied().unwrap_or_default()
    }
}

/// The processor time that kube-apiserver and etcd have used, in seconds.
pub fn server_cpu() -> f64 {
    descendants(process::id()).into_iter().filter(|pid| is_server(*pid)).map(cpu_seconds).sum()
}

fn is_server(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    matches!(name.trim_end(), "etcd" | "kube-apiserver")
}

fn descendants(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect();
    children.into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}
