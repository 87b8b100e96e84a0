//! Metrics of the controller. Labels come from fixed sets only: never a namespace or a WebShell, whose number has no bound.

use std::time::Duration;

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels with values from fixed sets.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Metrics of the controller. Clones share their values.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    leader: Gauge,
    reconciles: Family<Labels<1>, Counter>,
    duration: Histogram,
    errors: Family<Labels<1>, Counter>,
    queue: Gauge,
    writes: Family<Labels<2>, Counter>,
    conditions: Family<Labels<2>, Gauge>,
    probes: Family<Labels<1>, Counter>,
}

// === impl ControllerMetrics ===

impl Default for ControllerMetrics {
    fn default() -> Self {
        Self {
            leader: Gauge::default(),
            reconciles: Family::default(),
            // 0.1 ms (nothing to do) to 105 s (an API server that hardly answers).
            duration: Histogram::new(exponential_buckets(0.000_1, 4.0, 11)),
            errors: Family::default(),
            queue: Gauge::default(),
            writes: Family::default(),
            conditions: Family::default(),
            probes: Family::default(),
        }
    }
}

impl ControllerMetrics {
    /// All metrics, under names that begin with `webshell_`.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("webshell");
        registry.register("leader", "Whether this replica reconciles", self.leader.clone());
        registry.register("reconciles", "Reconciles of a namespace by outcome", self.reconciles.clone());
        registry.register_with_unit("reconcile", "Duration of a reconcile", Unit::Seconds, self.duration.clone());
        registry.register("reconcile_errors", "Failed reconciles by kind of error", self.errors.clone());
        registry.register("reconcile_queue", "Namespaces that wait for a reconcile", self.queue.clone());
        registry.register("api_writes", "Writes to the API server by verb and resource", self.writes.clone());
        registry.register("webshells", "WebShells by condition and status", self.conditions.clone());
        registry.register("route_probes", "Pings through the public URLs of gateways by outcome", self.probes.clone());
        registry
    }

    /// This replica reconciles from now on.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// Counts a reconcile that came to its end.
    pub fn reconciled(&self, time: Duration, error: Option<&'static str>) {
        let outcome = if error.is_none() { "done" } else { "failed" };
        self.reconciles.get_or_create(&[("outcome", outcome)]).inc();
        self.duration.observe(time.as_secs_f64());
        if let Some(kind) = error {
            self.errors.get_or_create(&[("kind", kind)]).inc();
        }
    }

    /// So many namespaces wait.
    pub fn queued(&self, namespaces: usize) {
        self.queue.set(i64::try_from(namespaces).unwrap_or(i64::MAX));
    }

    /// Counts a write.
    pub fn wrote(&self, verb: &'static str, resource: &'static str) {
        self.writes.get_or_create(&[("verb", verb), ("resource", resource)]).inc();
    }

    /// Adds to the number of WebShells with a condition in a status.
    pub fn count(&self, condition: &'static str, status: &'static str, change: i64) {
        self.conditions.get_or_create(&[("condition", condition), ("status", status)]).inc_by(change);
    }

    /// Counts a ping through a public URL.
    pub fn probed(&self, outcome: &'static str) {
        self.probes.get_or_create(&[("outcome", outcome)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: &ControllerMetrics) -> String {
        let mut text = String::new();
        encode(&mut text, &metrics.registry()).unwrap();
        text
    }

    #[test]
    fn every_metric_stands_in_the_handbook() {
        let handbook = include_str!("../../docs/operations.md");
        for line in text(&ControllerMetrics::default()).lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            assert!(handbook.contains(&format!("| `{name}{suffix}` |")), "docs/operations.md lacks {name}{suffix}");
        }
    }

    #[test]
    fn every_metric_is_exposed_under_its_name() {
        let metrics = ControllerMetrics::default();
        metrics.leads();
        metrics.reconciled(Duration::from_micros(300), None);
        metrics.reconciled(Duration::from_secs(1), Some("conflict"));
        metrics.queued(3);
        metrics.wrote("apply", "Service");
        metrics.count("Ready", "True", 2);
        metrics.count("Ready", "True", -1);
        metrics.probed("proved");
        let text = text(&metrics);
        for line in [
            "webshell_leader 1",
            "webshell_reconciles_total{outcome=\"done\"} 1",
            "webshell_reconcile_seconds_count 2",
            "webshell_reconcile_errors_total{kind=\"conflict\"} 1",
            "webshell_reconcile_queue 3",
            "webshell_api_writes_total{verb=\"apply\",resource=\"Service\"} 1",
            "webshell_webshells{condition=\"Ready\",status=\"True\"} 1",
            "webshell_route_probes_total{outcome=\"proved\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }
}
