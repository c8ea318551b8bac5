//! What is counted while the bastion runs, and its form for a scraper: the Prometheus text format, version 0.0.4.
//!
//! Numbers only: no name of a user, host or login stands in a metric, because whoever scrapes is not whoever audits. What strangers do
//! at the door is counted here and stands in no event.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens at the door. Shared by all connections; counting is one atomic addition.
#[derive(Debug, Default)]
pub struct Tally {
    connections: AtomicU64,
    turned_off: AtomicU64,
    logins: AtomicU64,
    wrong_keys: AtomicU64,
    strangers: AtomicU64,
}

impl Tally {
    /// A connection was accepted.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was one too many.
    pub fn turned_off(&self) {
        self.turned_off.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody proved a key that we know.
    pub fn logged_in(&self) {
        self.logins.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody proved a key that opens nothing.
    pub fn wrong_key(&self) {
        self.wrong_keys.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended on which no key that we know was proven.
    pub fn stranger(&self) {
        self.strangers.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the counters to a page.
    pub fn write(&self, page: &mut Page) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        page.counter("connections_total", "Connections accepted at the front door.", read(&self.connections));
        page.counter("connections_refused_total", "Connections beyond a limit, closed at once.", read(&self.turned_off));
        page.counter("logins_total", "Connections on which a known key was proven.", read(&self.logins));
        page.counter("wrong_keys_total", "Keys proven that open nothing.", read(&self.wrong_keys));
        page.counter("strangers_total", "Connections that ended without a known key.", read(&self.strangers));
    }
}

/// A page of metrics in the making. Every name gets the prefix `jit_bastion_`.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        let _ = writeln!(self.0, "jit_bastion_{name} {value}");
    }

    /// The same for each value of one label.
    pub fn counters<'a>(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (&'a str, u64)>) {
        self.head(name, help, "counter");
        for (which, value) in values {
            let _ = writeln!(self.0, "jit_bastion_{name}{{{label}=\"{}\"}} {value}", quoted(which));
        }
    }

    /// A number of now.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "jit_bastion_{name} {value}");
    }

    /// Something that is always 1 and tells by its label.
    pub fn info(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "jit_bastion_{name}{{{label}=\"{}\"}} 1", quoted(value));
    }

    /// The page.
    pub fn text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP jit_bastion_{name} {help}\n# TYPE jit_bastion_{name} {kind}");
    }
}

/// A label's value as the format wants it.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_the_format_says() {
        let tally = Tally::default();
        tally.connected();
        tally.connected();
        tally.logged_in();
        let mut page = Page::default();
        tally.write(&mut page);
        page.counters("events_total", "Events.", "event", [("grant-begun", 2), ("a\"b\\", 1)]);
        let text = page.text();
        assert!(text.contains("# TYPE jit_bastion_connections_total counter\njit_bastion_connections_total 2\n"), "{text}");
        assert!(text.contains("jit_bastion_logins_total 1\n"), "{text}");
        assert!(text.contains("jit_bastion_events_total{event=\"a\\\"b\\\\\"} 1\n"), "{text}");
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("jit_bastion_")), "{text}");
    }
}
