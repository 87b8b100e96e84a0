//! Prometheus metrics. Labels come from fixed sets only: never a user, a host or a shell, whose number has no bound.

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

/// One label with a value from a fixed set.
type Label = [(&'static str, &'static str); 1];

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// On its way to the shell.
    Connecting,
    /// A browser is connected to it.
    Attached,
    /// Waits for its browser to come back.
    Detached,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the user to the shell.
    Input,
    /// From the shell to the user.
    Output,
}

/// Metrics of terminals. Clones share their values.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    connecting: Gauge,
    attached: Gauge,
    detached: Gauge,
    states: Family<Label, Gauge>,
    input: Counter,
    output: Counter,
    bytes: Family<Label, Counter>,
    connect: Histogram,
    echo: Histogram,
    stalls: Counter,
    held: Gauge,
    resumes: Counter,
    closes: Family<Label, Counter>,
}

/// Counts one session in the gauge of its state, until it is dropped.
#[derive(Debug)]
pub struct CountedSession {
    gauge: Gauge,
    metrics: SessionMetrics,
}

/// Metrics of HTTP. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    requests: Family<Label, Counter>,
    refusals: Family<Label, Counter>,
    logins: Family<Label, Counter>,
    connections: Gauge,
    dropped: Family<Label, Counter>,
}

/// What became of a connection when too many were open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It was closed to make room for a new one.
    Evicted,
    /// It was new, and no other could give way.
    Refused,
}

/// Counts one connection as open, until it is dropped.
#[derive(Debug)]
pub struct CountedConnection(Gauge);

// === impl SessionMetrics ===

impl Default for SessionMetrics {
    fn default() -> Self {
        let states = Family::<Label, Gauge>::default();
        let bytes = Family::<Label, Counter>::default();
        Self {
            connecting: states.get_or_create_owned(&[("state", "connecting")]),
            attached: states.get_or_create_owned(&[("state", "attached")]),
            detached: states.get_or_create_owned(&[("state", "detached")]),
            states,
            input: bytes.get_or_create_owned(&[("direction", "input")]),
            output: bytes.get_or_create_owned(&[("direction", "output")]),
            bytes,
            // 10 ms (a VM in the same rack) to 41 s (beyond the usual connect timeout).
            connect: Histogram::new(exponential_buckets(0.01, 2.0, 13)),
            // 0.25 ms (loopback) to 8 s (a program that thinks).
            echo: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            stalls: Counter::default(),
            held: Gauge::default(),
            resumes: Counter::default(),
            closes: Family::default(),
        }
    }
}

impl SessionMetrics {
    /// Makes the metrics known under `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("sessions", "Sessions by state", self.states.clone());
        registry.register("terminal_bytes", "Bytes passed between users and shells", self.bytes.clone());
        registry.register_with_unit(
            "connect",
            "From the dial to the first byte of a shell",
            Unit::Seconds,
            self.connect.clone(),
        );
        registry.register_with_unit(
            "input_to_output",
            "From input to the next output of the shell",
            Unit::Seconds,
            self.echo.clone(),
        );
        registry.register("output_stalls", "Times output was paused for a slow client", self.stalls.clone());
        registry.register_with_unit(
            "held_output",
            "Output held for detached sessions beyond their windows",
            Unit::Bytes,
            self.held.clone(),
        );
        registry.register("resumes", "Sessions continued by a later connection", self.resumes.clone());
        registry.register("closes", "Ended sessions by reason", self.closes.clone());
    }

    /// Counts a session in `state`, until the guard is dropped.
    pub fn count(&self, state: SessionState) -> CountedSession {
        let gauge = self.gauge(state);
        gauge.inc();
        CountedSession { gauge, metrics: self.clone() }
    }

    /// Adds `bytes` that passed.
    pub fn passed(&self, direction: Direction, bytes: usize) {
        let counter = match direction {
            Direction::Input => &self.input,
            Direction::Output => &self.output,
        };
        counter.inc_by(bytes as u64);
    }

    /// Records how long it took to reach a shell.
    pub fn connected_in(&self, time: Duration) {
        self.connect.observe(time.as_secs_f64());
    }

    /// Records the time from input to the next output.
    pub fn echoed_in(&self, time: Duration) {
        self.echo.observe(time.as_secs_f64());
    }

    /// Counts a pause of the output.
    pub fn stalled(&self) {
        self.stalls.inc();
    }

    /// Notes that a session holds `bytes` beyond its window, and did hold `before`.
    pub fn holds(&self, bytes: usize, before: usize) {
        self.held.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.held.dec_by(i64::try_from(before).unwrap_or(i64::MAX));
    }

    /// Counts a resume.
    pub fn resumed(&self) {
        self.resumes.inc();
    }

    /// Counts the end of a session. `reason` is the name of a `protocol::Reason`.
    pub fn closed(&self, reason: &'static str) {
        self.closes.get_or_create(&[("reason", reason)]).inc();
    }

    fn gauge(&self, state: SessionState) -> Gauge {
        match state {
            SessionState::Connecting => self.connecting.clone(),
            SessionState::Attached => self.attached.clone(),
            SessionState::Detached => self.detached.clone(),
        }
    }
}

// === impl CountedSession ===

impl CountedSession {
    /// Moves the session to another state.
    pub fn set(&mut self, state: SessionState) {
        let gauge = self.metrics.gauge(state);
        gauge.inc();
        std::mem::replace(&mut self.gauge, gauge).dec();
    }
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

// === impl HttpMetrics ===

impl HttpMetrics {
    /// Makes the metrics known under `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_connections", "Open connections, WebSockets included", self.connections.clone());
        registry.register(
            "http_connections_dropped",
            "Connections closed or refused because too many were open",
            self.dropped.clone(),
        );
        registry.register("http_requests", "Answered requests by class of status", self.requests.clone());
        registry.register(
            "websocket_refusals",
            "WebSockets refused before their upgrade, by cause",
            self.refusals.clone(),
        );
        registry.register("logins", "Attempts to log in by outcome", self.logins.clone());
    }

    /// Counts a connection as open, until the guard is dropped.
    pub fn count_connection(&self) -> CountedConnection {
        self.connections.inc();
        CountedConnection(self.connections.clone())
    }

    /// Counts a connection that was closed or refused because too many were open.
    pub fn dropped(&self, dropped: Dropped) {
        let cause = match dropped {
            Dropped::Evicted => "evicted",
            Dropped::Refused => "refused",
        };
        self.dropped.get_or_create(&[("cause", cause)]).inc();
    }

    /// Counts an answered request.
    pub fn answered(&self, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&[("status", class)]).inc();
    }

    /// Counts a WebSocket that was refused before its upgrade.
    pub fn refused(&self, cause: &'static str) {
        self.refusals.get_or_create(&[("cause", cause)]).inc();
    }

    /// Counts an attempt to log in.
    pub fn login(&self, accepted: bool) {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.logins.get_or_create(&[("outcome", outcome)]).inc();
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// All metrics, under names that begin with `webshell_`.
pub fn registry(sessions: &SessionMetrics, http: &HttpMetrics) -> Registry {
    let mut registry = Registry::with_prefix("webshell");
    sessions.register(&mut registry);
    http.register(&mut registry);
    registry
}

/// Those of HTTP alone, under the same names.
pub fn of_http(http: &HttpMetrics) -> Registry {
    let mut registry = Registry::with_prefix("webshell");
    http.register(&mut registry);
    registry
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn text(sessions: &SessionMetrics, http: &HttpMetrics) -> String {
        let mut text = String::new();
        encode(&mut text, &registry(sessions, http)).unwrap();
        text
    }

    #[test]
    fn every_metric_stands_in_the_handbook() {
        let handbook = include_str!("../../docs/operations.md");
        let text = text(&SessionMetrics::default(), &HttpMetrics::default());
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffix = if kind == "counter" { "_total" } else { "" };
            assert!(handbook.contains(&format!("| `{name}{suffix}` |")), "docs/operations.md lacks {name}{suffix}");
        }
    }

    #[test]
    fn a_session_is_counted_in_one_state_at_a_time() {
        let (sessions, http) = (SessionMetrics::default(), HttpMetrics::default());
        let mut counted = sessions.count(SessionState::Connecting);
        assert!(text(&sessions, &http).contains("webshell_sessions{state=\"connecting\"} 1\n"));
        counted.set(SessionState::Attached);
        counted.set(SessionState::Attached);
        let now = text(&sessions, &http);
        assert!(now.contains("webshell_sessions{state=\"connecting\"} 0\n"), "{now}");
        assert!(now.contains("webshell_sessions{state=\"attached\"} 1\n"), "{now}");
        drop(counted);
        assert!(text(&sessions, &http).contains("webshell_sessions{state=\"attached\"} 0\n"));
    }

    #[test]
    fn every_metric_is_exposed_under_its_name() {
        let (sessions, http) = (SessionMetrics::default(), HttpMetrics::default());
        sessions.passed(Direction::Input, 3);
        sessions.passed(Direction::Output, 1 << 33);
        sessions.connected_in(Duration::from_millis(30));
        sessions.echoed_in(Duration::from_micros(300));
        sessions.stalled();
        sessions.holds(5, 2);
        sessions.resumed();
        sessions.closed("idle");
        http.answered(404);
        http.refused("origin");
        http.login(true);
        http.dropped(Dropped::Evicted);
        let _open = http.count_connection();
        let text = text(&sessions, &http);
        for line in [
            "webshell_terminal_bytes_total{direction=\"input\"} 3",
            "webshell_terminal_bytes_total{direction=\"output\"} 8589934592",
            "webshell_connect_seconds_count 1",
            "webshell_input_to_output_seconds_bucket{le=\"0.0005\"} 1",
            "webshell_output_stalls_total 1",
            "webshell_held_output_bytes 3",
            "webshell_resumes_total 1",
            "webshell_closes_total{reason=\"idle\"} 1",
            "webshell_http_requests_total{status=\"4xx\"} 1",
            "webshell_websocket_refusals_total{cause=\"origin\"} 1",
            "webshell_logins_total{outcome=\"accepted\"} 1",
            "webshell_http_connections 1",
            "webshell_http_connections_dropped_total{cause=\"evicted\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }
}
