//! Records of several replicas in one PostgreSQL: all of them, once, whatever dies meanwhile.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollway::ledger::RequestRecord;
use tollway::store::ledger::{Ledger, LedgerOptions};
use tollway::store::postgres::{Address, Error, Progress, Sender, run};
use tollway::units::{ManualClock, NanoUsd, SystemClock};
use tollway_test_support::Postgres;

use crate::{file, record};

const PATIENCE: Duration = Duration::from_mins(1);

/// A replica: its ledger, and the task that sends.
struct Replica {
    folder: tempfile::TempDir,
    ledger: Ledger,
    progress: Arc<Progress>,
    stop: CancellationToken,
    sending: JoinHandle<()>,
}

fn options() -> LedgerOptions {
    LedgerOptions { sent_elsewhere: true, ..LedgerOptions::default() }
}

impl Replica {
    fn start(url: &str) -> Self {
        Self::of(tempfile::tempdir().unwrap(), url)
    }

    fn of(folder: tempfile::TempDir, url: &str) -> Self {
        let (ledger, _) = Ledger::open(&file(&folder), options()).unwrap();
        let sender = Sender::new(ledger.clone(), Address::new(url).unwrap(), Arc::new(SystemClock::new()));
        let (progress, stop) = (sender.progress(), CancellationToken::new());
        let sending = tokio::spawn(run(sender, stop.clone()));
        Self { folder, ledger, progress, stop, sending }
    }

    async fn settle(&self, records: impl Iterator<Item = RequestRecord>) {
        let (_, lines) = record(0, 0);
        let all: Vec<_> = records.map(|record| self.ledger.settle(record, lines.clone())).collect();
        for one in all {
            one.await.unwrap();
        }
    }

    /// Until PostgreSQL has all that the ledger has.
    async fn sent(&self, records: i64) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ledger.sent().await.is_ok_and(|sent| sent.place >= records) {
            assert!(Instant::now() < deadline, "{:?} {:?}", self.ledger.sent().await, self.progress);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.sending.await.unwrap();
        self.ledger.close().await.unwrap();
        self.folder
    }
}

/// The requests with these numbers, one of which has a word that no text of PostgreSQL's may hold.
fn records(numbers: std::ops::Range<u128>) -> impl Iterator<Item = RequestRecord> {
    numbers.map(|id| {
        let (mut record, _) = record(id, i64::try_from(id).unwrap() + 1);
        if id == 3 {
            record.model = "a\0b \u{1f4b8} 'c' \\".into();
        }
        record
    })
}

fn sum(numbers: std::ops::Range<u128>) -> i64 {
    numbers.map(|id| i64::try_from(id).unwrap() + 1).sum()
}

fn tollway(folder: &Path, words: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tollway")).args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_the_fleet_are_those_of_its_ledgers() {
    let Some(postgres) = Postgres::start().await else { return };
    let (one, two) = (Replica::start(&postgres.url()), Replica::start(&postgres.url()));
    one.settle(records(0..1_200)).await;
    // One that both have charged stands in both ledgers, and so does it here.
    two.settle(records(1_199..1_900)).await;
    one.sent(1_200).await;
    two.sent(701).await;
    let both = format!("{}|{}\n{}|{}", 1_200, sum(0..1_200), 701, sum(1_199..1_900));
    let sums = "SELECT count(*), sum(amount_nanos) FROM tollway.requests GROUP BY replica ORDER BY 1 DESC";
    assert_eq!(postgres.sql(sums), both);
    let attempts = "SELECT count(*), sum(amount_nanos) FROM tollway.attempts";
    assert_eq!(postgres.sql(attempts), format!("{}|{}", 2 * 1_901, sum(0..1_200) + sum(1_199..1_900)));
    let kinds = "SELECT data_type FROM information_schema.columns WHERE table_schema = 'tollway' \
                 AND data_type IN ('real', 'double precision', 'money')";
    assert_eq!(postgres.sql(kinds), "", "no floats");
    assert_eq!(
        postgres
            .sql("SELECT model FROM tollway.requests WHERE seq = 4 AND status = 200 AND amount_nanos = 4"),
        "a\u{fffd}b \u{1f4b8} 'c' \\"
    );
    assert_eq!(postgres.sql("SELECT DISTINCT tags ->> 'app' FROM tollway.requests"), "web \"2\"");

    // Both read the same by our own words.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tollway.yaml"), format!("ledger: '{}'\n", postgres.url())).unwrap();
    let verified: Value =
        serde_json::from_str(&tollway(folder.path(), &["ledger", "verify", "--fleet", "--output", "json"]))
            .unwrap();
    assert_eq!(verified["amount_usd"], NanoUsd(sum(0..1_200) + sum(1_199..1_900)).to_string());
    assert_eq!((verified["replicas"].as_array().unwrap().len(), &verified["odd"]), (2, &Value::from(0)));
    let export = ["ledger", "export", "--format", "jsonl"];
    let mut of_all: Vec<String> =
        tollway(folder.path(), &[&export[..], &["--fleet"]].concat()).lines().map(str::to_owned).collect();
    let mut of_each: Vec<String> = Vec::new();
    for replica in [&one, &two] {
        let path = file(&replica.folder).to_str().unwrap().to_owned();
        let text = tollway(folder.path(), &[&export[..], &["--ledger", &path]].concat());
        of_each.extend(text.lines().map(|line| line.replace("\\u0000", "\u{fffd}")));
    }
    of_all.sort();
    of_each.sort();
    assert_eq!(of_all.len(), 1_901);
    // Tags have no order of their own there.
    let values = |lines: &[String]| -> Vec<Value> {
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let by_hold = |mut values: Vec<Value>| {
        values.sort_by_key(|value| value["hold"].to_string());
        values
    };
    assert_eq!(by_hold(values(&of_all)), by_hold(values(&of_each)));
    let report = |more: &[&str]| -> Value {
        let words = [&["report", "--by", "user,day,tag:env,provider", "--output", "json"], more].concat();
        serde_json::from_str(&tollway(folder.path(), &words)).unwrap()
    };
    let fleet = report(&["--fleet"]);
    assert_eq!(fleet[0]["spend_usd"], verified["amount_usd"]);
    assert_eq!(
        (&fleet[0]["requests"], &fleet[0]["user"]),
        (&Value::from(1_901), &Value::from("alice@example.com"))
    );
    let path = file(&one.folder).to_str().unwrap().to_owned();
    assert_eq!(report(&["--ledger", &path])[0]["requests"], 1_200);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_has_every_record_once_when_it_is_back() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let replica = Replica::start(&postgres.url());
    let mut written = 0_u128;
    for _ in 0..4 {
        let next = written + 1_500;
        replica.settle(records(written..next)).await;
        written = next;
        // While batches are under way.
        let deadline = Instant::now() + PATIENCE;
        while replica.progress.behind() == 0 && !replica.ledger.sent().await.is_ok_and(|sent| sent.place > 0)
        {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        postgres.kill9();
        // Nobody waits for it.
        replica.settle(records(written..written + 700)).await;
        written += 700;
        postgres.restart().await;
    }
    let count = i64::try_from(written).unwrap();
    replica.sent(count).await;
    assert_eq!(replica.progress.behind(), 0);
    let all = "SELECT count(*), count(DISTINCT hold), sum(amount_nanos), max(seq) FROM tollway.requests";
    assert_eq!(postgres.sql(all), format!("{count}|{count}|{}|{count}", sum(0..written)));
    assert_eq!(postgres.sql("SELECT count(*) FROM tollway.attempts"), (2 * count).to_string());
    assert!(replica.progress.failures().last > 0);
    // Started anew, it goes on from where it was.
    let replica = Replica::of(replica.stop().await, &postgres.url());
    replica.settle(records(written..written + 10)).await;
    replica.sent(count + 10).await;
    assert_eq!(postgres.sql("SELECT count(*) FROM tollway.requests"), (count + 10).to_string());
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_forgot_is_sent_all_again() {
    let Some(postgres) = Postgres::start().await else { return };
    let replica = Replica::start(&postgres.url());
    replica.settle(records(0..900)).await;
    replica.sent(900).await;
    let folder = replica.stop().await;
    // As if put back from a copy that was made after half of it.
    postgres.sql("DELETE FROM tollway.requests WHERE seq > 400; DELETE FROM tollway.attempts WHERE n = 1 AND amount_nanos > 400; UPDATE tollway.replicas SET place = 400");
    let replica = Replica::of(folder, &postgres.url());
    replica.settle(records(900..901)).await;
    replica.sent(901).await;
    let sums = "SELECT count(*), sum(amount_nanos) FROM tollway.requests";
    assert_eq!(postgres.sql(sums), format!("901|{}", sum(0..901)));
    assert_eq!(postgres.sql("SELECT count(*) FROM tollway.attempts"), "1802");
    let folder = replica.stop().await;
    // As if another stood in its place.
    postgres.sql("DROP SCHEMA tollway CASCADE");
    let replica = Replica::of(folder, &postgres.url());
    replica.settle(records(901..902)).await;
    let deadline = Instant::now() + PATIENCE;
    while postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'tollway'") != "4"
        || postgres.sql(sums) != format!("902|{}", sum(0..902))
    {
        assert!(Instant::now() < deadline, "{}", postgres.sql(sums));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lets_us_in_and_takes_nothing_gets_all_once_it_does() {
    let Some(postgres) = Postgres::start().await else { return };
    let replica = Replica::start(&postgres.url());
    replica.settle(records(0..10)).await;
    replica.sent(10).await;
    postgres.sql("ALTER TABLE tollway.attempts ADD CONSTRAINT none CHECK (amount_nanos < 0) NOT VALID");
    replica.settle(records(10..30)).await;
    let deadline = Instant::now() + PATIENCE;
    let refused =
        || replica.progress.failures().counts.iter().any(|(word, times)| *word == "query" && *times >= 3);
    while !refused() {
        assert!(Instant::now() < deadline, "{:?}", replica.progress);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!replica.progress.is_connected());
    assert_eq!(replica.progress.behind(), 20);
    assert_eq!(
        postgres.sql("SELECT count(*) FROM tollway.requests"),
        "10",
        "a request without its attempts is none"
    );
    postgres.sql("ALTER TABLE tollway.attempts DROP CONSTRAINT none");
    replica.sent(30).await;
    assert_eq!(
        postgres.sql("SELECT count(*), sum(amount_nanos) FROM tollway.requests"),
        format!("30|{}", sum(0..30))
    );
    replica.stop().await;
}

#[tokio::test]
async fn records_that_were_not_sent_outlive_their_retention_and_places_are_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let clock = ManualClock::at("2026-11-01T00:00:00Z".parse().unwrap());
    let kept =
        LedgerOptions { retention: Some(Duration::from_hours(24)), clock: Arc::new(clock), ..options() };
    let (ledger, _) = Ledger::open(&path, kept.clone()).unwrap();
    for one in records(0..4) {
        ledger.settle(one, Vec::new()).await.unwrap();
    }
    ledger.sweep().await.unwrap();
    assert_eq!(ledger.reader().unwrap().newest().unwrap(), 4, "nobody has them yet");
    let mut sent = ledger.sent().await.unwrap();
    sent.place = 2;
    ledger.note_sent(sent.clone()).await.unwrap();
    ledger.sweep().await.unwrap();
    let left = |ledger: &Ledger| -> Vec<i64> {
        let found = ledger.reader().unwrap().written_after(0, 9).unwrap();
        found.iter().map(|(place, _)| *place).collect()
    };
    assert_eq!(left(&ledger), [3, 4]);
    sent.place = 4;
    ledger.note_sent(sent).await.unwrap();
    ledger.sweep().await.unwrap();
    assert!(left(&ledger).is_empty());
    ledger.close().await.unwrap();
    let (ledger, _) = Ledger::open(&path, kept.clone()).unwrap();
    for one in records(4..5) {
        ledger.settle(one, Vec::new()).await.unwrap();
    }
    assert_eq!(left(&ledger), [5]);
    ledger.close().await.unwrap();
    // Who sends nothing any more keeps nothing for it.
    let (ledger, _) = Ledger::open(&path, LedgerOptions { sent_elsewhere: false, ..kept }).unwrap();
    ledger.sweep().await.unwrap();
    assert!(left(&ledger).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r51_tls_is_as_strict_as_the_address_says_and_no_password_is_told() {
    let (ours, others) = (authority(), authority());
    let (cert, key) = ours.leaf();
    let Some(postgres) = Postgres::with_tls(&cert, &key).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.certificate.pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours, others) = (put("ours.pem", &ours), put("others.pem", &others));
    let opened = async |query: String| {
        let address = Address::new(&format!("{}?{query}", postgres.url())).unwrap();
        tollway::store::postgres::Reader::open(&address).await
    };
    let is_in =
        |opened: &Result<_, Error>| matches!(opened, Err(Error::Odd(said)) if said.contains("no ledger"));
    for good in [
        "sslmode=require".to_owned(),
        "sslmode=prefer".to_owned(),
        format!("sslmode=verify-ca&sslrootcert={ours}"),
        format!("sslmode=verify-full&sslrootcert={ours}"),
    ] {
        assert!(is_in(&opened(good.clone()).await.map(drop)), "{good}");
    }
    let by_name = postgres.url().replace("127.0.0.1", "localhost");
    let opened_by_name = async |mode: &str| {
        let url = format!("{by_name}?sslmode={mode}&sslrootcert={ours}");
        tollway::store::postgres::Reader::open(&Address::new(&url).unwrap()).await.map(drop)
    };
    assert!(is_in(&opened_by_name("verify-ca").await), "its name is another");
    assert!(matches!(opened_by_name("verify-full").await, Err(Error::Unreachable(_))), "its name is another");
    for bad in [
        "sslmode=disable".to_owned(),
        "sslmode=verify-full".to_owned(),
        format!("sslmode=require&sslrootcert={others}"),
        format!("sslmode=verify-full&sslrootcert={others}"),
    ] {
        let error = opened(bad.clone()).await.map(drop).expect_err(&bad);
        assert!(matches!(error, Error::Unreachable(_) | Error::Refused(_)), "{bad}: {error}");
        assert!(!error.to_string().contains(postgres.password()), "{error}");
    }
    let wrong = postgres.url().replace(postgres.password(), "hunter2");
    let address = Address::new(&wrong).unwrap();
    let error =
        tollway::store::postgres::Reader::open(&address).await.map(drop).expect_err("another password");
    assert!(matches!(error, Error::Refused(_)) && !error.to_string().contains("hunter2"), "{error}");
}

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
}

impl Authority {
    /// A certificate for this machine by its address, and its key.
    fn leaf(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}
