//! A real Prometheus, scraping one gateway every second, and its query API.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollway_test_support::Client;

/// What to do where it is missing.
pub(crate) const INSTALL: &str = "These tests need Debian's package: apt-get install prometheus";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a condition outside this process is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A running Prometheus. Dropping it ends it and removes its data.
pub(crate) struct Prometheus {
    child: Child,
    client: Client,
    _directory: tempfile::TempDir,
}

/// One series of a result.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) labels: BTreeMap<String, String>,
    /// Times in seconds, and values.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    /// The only value of an instant query's series.
    pub(crate) fn value(&self) -> f64 {
        self.points[0].1
    }

    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Prometheus {
    /// Starts one that scrapes `target`.
    pub(crate) async fn watching(target: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: tollway, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}. {INSTALL}"));
        let address = listening(&mut child);
        let prometheus = Self { child, client: Client::new(address), _directory: directory };
        let ready = || async {
            prometheus.client.get("/-/ready").try_send().await.is_ok_and(|answer| answer.status == 200)
        };
        let deadline = Instant::now() + PATIENCE;
        while !ready().await {
            assert!(Instant::now() < deadline, "Prometheus is never ready");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        prometheus
    }

    /// A query at one moment; `None`: now.
    pub(crate) async fn at(&self, expr: &str, time: Option<f64>) -> Vec<Series> {
        let time = time.map(|time| format!("&time={time:.3}")).unwrap_or_default();
        self.ask(&format!("/api/v1/query?query={}{time}", encoded(expr)), expr).await
    }

    /// A query over a range, a point a second.
    pub(crate) async fn over(&self, expr: &str, from: f64, to: f64) -> Vec<Series> {
        self.ask(
            &format!("/api/v1/query_range?query={}&start={from:.3}&end={to:.3}&step=1", encoded(expr)),
            expr,
        )
        .await
    }

    /// The value of a query that gives one number now, if it gives one.
    pub(crate) async fn number(&self, expr: &str) -> Option<f64> {
        self.at(expr, None).await.first().map(Series::value)
    }

    /// Waits until a query gives this number now.
    pub(crate) async fn until(&self, expr: &str, wanted: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.number(expr).await;
            if seen == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{expr} is never {wanted}, but {seen:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn ask(&self, path: &str, expr: &str) -> Vec<Series> {
        let answer = self.client.get(path).send().await.json().await;
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap();
        result.iter().map(series).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that it says it listens on; its output is read on to the end, so that it never blocks.
fn listening(child: &mut Child) -> SocketAddr {
    let pipe = child.stderr.take().unwrap();
    let (told, said) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    let mut log = String::new();
    while let Ok(line) = said.recv_timeout(PATIENCE) {
        let address = line.split("address=").nth(1).filter(|_| line.contains("Listening on"));
        if let Some(address) = address.and_then(|address| address.split_whitespace().next()?.parse().ok()) {
            return address;
        }
        log.push_str(&line);
        log.push('\n');
    }
    panic!("Prometheus never listens:\n{log}");
}

fn series(result: &Value) -> Series {
    let labels = result["metric"].as_object().unwrap().iter();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let point = |point: &Value| (point[0].as_f64().unwrap(), point[1].as_str().unwrap().parse().unwrap());
    let points = match result.get("values") {
        Some(values) => values.as_array().unwrap().iter().map(point).collect(),
        None => vec![point(&result["value"])],
    };
    Series { labels, points }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
