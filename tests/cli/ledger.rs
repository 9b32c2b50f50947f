//! `tollway ledger` and `tollway report`: what they print of a ledger that a gateway is writing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tollway::budget::{HoldId, Scope, ScopeKind, Window};
use tollway::ledger::{AttemptRecord, HoldContext, HoldEntry, Line, RequestRecord};
use tollway::store::ledger::{Ledger, LedgerOptions};
use tollway::units::{NanoUsd, RequestId, Usage};

use crate::{printed, tollway};

fn hold(id: u128, team: &str, began: &str, nanos: i64) -> HoldEntry {
    let scope = Scope { kind: ScopeKind::Team, name: team.into() };
    let window = Window { start: 1_793_491_200, end: 1_796_083_200 };
    let context = HoldContext {
        id: RequestId::from_bits(id),
        key: "alice".into(),
        user: "".into(),
        team: team.into(),
        organisation: "acme".into(),
        policy: "interactive".into(),
        tags: vec![("env".into(), "prod".into()), ("note".into(), "a \"b\", c".into())],
        model: "deepseek-v4-flash".into(),
        endpoint: "chat",
        stream: true,
        began: began.parse().unwrap(),
        provider: "deepseek".into(),
        route: "deepseek/deepseek-chat".into(),
        checkpoint: "deepseek-v4-flash-0731".into(),
    };
    let lines = vec![Line { budget: format!("team/{team}").into(), scope, window }];
    HoldEntry { id: HoldId(id), amount: NanoUsd(nanos), lines, context }
}

/// A request that failed at one provider, for a charge of `waste`, and was answered by another.
fn record(id: u128, team: &str, began: &str, waste: i64, nanos: i64) -> (RequestRecord, Vec<Line>) {
    let (mut record, lines) = hold(id, team, began, 0).lost();
    record.outcome = "ok";
    record.status = 200;
    record.total_ms = 1_250;
    record.ttft_ms = Some(310);
    record.amount = NanoUsd(waste + nanos);
    record.saved = NanoUsd(5);
    let first = &mut record.attempts[0];
    first.outcome = "broken";
    first.source = "estimated";
    first.amount = NanoUsd(waste);
    first.parts = [NanoUsd(waste), NanoUsd(0), NanoUsd(0), NanoUsd(0), NanoUsd(0)];
    first.usage = Usage { prompt: 1_000, ..Usage::default() };
    record.attempts.push(AttemptRecord {
        provider: "openrouter".into(),
        route: "openrouter/deepseek/deepseek-chat".into(),
        outcome: "ok",
        source: "reported",
        reason: "".into(),
        usage: Usage { prompt: 1_000, cached: 600, completion: 50, ..Usage::default() },
        amount: NanoUsd(nanos),
        parts: [NanoUsd(nanos - 30), NanoUsd(10), NanoUsd(0), NanoUsd(20), NanoUsd(0)],
        price_source: "https://openrouter.ai/models".into(),
        price_as_of: "2026-11-01".into(),
        generation: format!("gen-{id}").into(),
        ..record.attempts[0].clone()
    });
    (record, lines)
}

/// A ledger in its usual place, with a gateway that has it open for as long as it is kept.
fn desk() -> (tempfile::TempDir, Ledger, tokio::runtime::Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ledger, _) = Ledger::open(&folder.path().join("data/ledger.db"), LedgerOptions::default()).unwrap();
    runtime.block_on(async {
        for (id, team, began, waste, nanos) in [
            (1, "search", "2026-11-02T10:00:00Z", 100, 554_488),
            (2, "search", "2026-11-03T10:00:00.5Z", 0, 1_000),
            (3, "data", "2026-11-03T23:59:59.999999999Z", 0, 2_000_000_000),
        ] {
            let (record, lines) = record(id, team, began, waste, nanos);
            ledger.hold(&hold(id, team, began, 3_000_000_000)).await.unwrap();
            ledger.settle(record, lines).await.unwrap();
        }
    });
    (folder, ledger, runtime)
}

fn export(folder: &Path, format: &str, more: &[&str]) -> String {
    let (text, status) = printed(folder, &[&["ledger", "export", "--format", format], more].concat());
    assert_eq!(status, 0, "{text}");
    text
}

#[test]
fn json_lines_hold_whole_requests_in_order() {
    let (folder, _ledger, _runtime) = desk();
    let text = export(folder.path(), "jsonl", &[]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["amount_usd"], "0.000554588");
    assert_eq!(lines[0]["attempts"][1]["cached_tokens"], 600);
    assert_eq!(lines[0]["tags"]["note"], "a \"b\", c");
    assert_eq!(lines[2]["began"], "2026-11-03T23:59:59.999999999Z");
    let day = export(folder.path(), "jsonl", &["--from", "2026-11-03", "--to", "2026-11-04"]);
    assert_eq!(day.lines().count(), 2);
    assert_eq!(export(folder.path(), "jsonl", &["--from", "2026-11-04"]), "");
}

#[test]
fn parquet_has_the_rows_of_csv_with_their_types() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    let (folder, _ledger, _runtime) = desk();
    let output = tollway(folder.path(), &["ledger", "export", "--format", "parquet", "--from", "2026-11-03"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = folder.path().join("all.parquet");
    fs::write(&path, output.stdout).unwrap();
    let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let same = rows(&export(folder.path(), "csv", &["--from", "2026-11-03"]));
    let mut count = 0;
    for (row, text) in reader.get_row_iter(None).unwrap().zip(&same) {
        for (name, field) in row.unwrap().get_column_iter() {
            let shown = match field {
                Field::Null => String::new(),
                Field::Str(text) => text.clone(),
                Field::Bool(flag) => flag.to_string(),
                Field::Long(number) => number.to_string(),
                // A moment comes as nanoseconds where its reader knows no more.
                Field::Decimal(value) => {
                    let nanos = i64::from_be_bytes(value.data().try_into().unwrap());
                    NanoUsd(nanos).to_string()
                }
                other => other.to_string(),
            };
            if !["began", "asked"].contains(&name.as_str()) {
                assert_eq!(&shown, &text[name], "{name}");
            }
        }
        count += 1;
    }
    assert_eq!((count, same.len()), (4, 4));
    // Read by a stranger, where one is at hand.
    let script = "import sys, pyarrow.parquet as p; t = p.read_table(sys.argv[1]); \
                  print(t.num_rows, sum(t['amount_usd'].to_pylist()), t['began'][1].as_py() if False else t['began'].type)";
    let stranger = std::process::Command::new("python3").args(["-c", script]).arg(&path).output();
    match stranger {
        Ok(said) if said.status.success() => {
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            assert_eq!(text.trim(), "4 2.000001000 timestamp[ns, tz=UTC]");
        }
        _ => eprintln!("not read by pyarrow, which is not on this machine"),
    }
}

/// Rows by their columns' names.
fn rows(text: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn sum(rows: &[std::collections::BTreeMap<String, String>], column: &str) -> i128 {
    let nanos = |text: &String| tollway::units::PicoUsd::from_usd_text(text).unwrap().0 / 1_000;
    rows.iter().map(|row| &row[column]).filter(|text| !text.is_empty()).map(nanos).sum()
}

#[test]
fn csv_has_an_attempt_a_row_and_columns_that_add_up() {
    let (folder, _ledger, _runtime) = desk();
    let rows = rows(&export(folder.path(), "csv", &[]));
    assert_eq!(rows.len(), 6);
    let all = 554_588 + 1_000 + 2_000_000_000;
    assert_eq!((sum(&rows, "amount_usd"), sum(&rows, "request_amount_usd")), (all, all));
    assert_eq!(sum(&rows, "request_saved_usd"), 15);
    assert_eq!(rows[1]["tags"], "{\"env\":\"prod\",\"note\":\"a \\\"b\\\", c\"}");
}

#[test]
fn focus_has_its_mandatory_columns_and_every_nano_dollar() {
    // FOCUS 1.2: feature level Mandatory.
    const MANDATORY: [&str; 21] = [
        "BilledCost",
        "BillingAccountId",
        "BillingAccountName",
        "BillingCurrency",
        "BillingPeriodEnd",
        "BillingPeriodStart",
        "ChargeCategory",
        "ChargeClass",
        "ChargeDescription",
        "ChargePeriodEnd",
        "ChargePeriodStart",
        "ContractedCost",
        "EffectiveCost",
        "InvoiceIssuerName",
        "ListCost",
        "PricingQuantity",
        "PricingUnit",
        "ProviderName",
        "PublisherName",
        "ServiceCategory",
        "ServiceName",
    ];
    let (folder, _ledger, _runtime) = desk();
    let rows = rows(&export(folder.path(), "focus", &[]));
    for column in MANDATORY {
        assert!(rows[0].contains_key(column), "{column}");
        let may_be_empty = ["ChargeClass"].contains(&column);
        assert!(may_be_empty || rows.iter().all(|row| !row[column].is_empty()), "{column}");
    }
    assert_eq!(sum(&rows, "BilledCost"), 554_588 + 1_000 + 2_000_000_000);
    let cached = rows.iter().find(|row| row["SkuMeter"] == "Cached input tokens").unwrap();
    assert_eq!((&*cached["ConsumedQuantity"], &*cached["BilledCost"]), ("600", "0.000000010"));
    assert_eq!(cached["BillingPeriodStart"], "2026-11-01T00:00:00Z");
    assert_eq!(cached["BillingPeriodEnd"], "2026-12-01T00:00:00Z");
    assert_eq!(cached["ChargePeriodStart"], "2026-11-02T10:00:00Z");
    assert!(rows[0].keys().all(|name| name.starts_with("x_") || name.starts_with(char::is_uppercase)));
}

#[test]
fn reports_group_by_what_is_asked() {
    let (folder, ledger, runtime) = desk();
    let report = |by: &str| -> Value {
        let (text, status) = printed(folder.path(), &["report", "--by", by, "--output", "json"]);
        assert_eq!(status, 0, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(
        report("team"),
        json!([
            {"team": "data", "requests": 1, "prompt_tokens": 2_000, "cached_tokens": 600, "completion_tokens": 50,
             "spend_usd": "2.000000000", "saved_usd": "0.000000005", "waste_usd": "0.000000000"},
            {"team": "search", "requests": 2, "prompt_tokens": 4_000, "cached_tokens": 1_200, "completion_tokens": 100,
             "spend_usd": "0.000555588", "saved_usd": "0.000000010", "waste_usd": "0.000000100"},
        ])
    );
    let by_provider = report("provider,tag:env");
    assert_eq!(by_provider[0]["provider"], "openrouter");
    assert_eq!((&by_provider[0]["requests"], &by_provider[1]["requests"]), (&json!(3), &json!(3)));
    assert_eq!(by_provider[1]["tag:env"], "prod");
    assert_eq!(report("day")[0]["day"], "2026-11-03");
    let (text, _) = printed(folder.path(), &["report", "--by", "team,model"]);
    assert!(text.contains("search, deepseek-v4-flash") && text.contains("0.000555588"), "{text}");
    let unknown = tollway(folder.path(), &["report", "--by", "colour"]);
    assert_eq!(unknown.status.code(), Some(2));
    runtime.block_on(ledger.close()).unwrap();
}

#[test]
fn an_invoice_is_held_against_the_ledger() {
    let (folder, _ledger, _runtime) = desk();
    let reconcile = |invoice: &str, more: &[&str]| -> (Value, i32) {
        fs::write(folder.path().join("bill.csv"), invoice).unwrap();
        let words =
            ["ledger", "reconcile", "--invoice", "bill.csv", "--provider", "openrouter", "--output", "json"];
        let (text, status) = printed(folder.path(), &[&words, more].concat());
        (serde_json::from_str(&text).unwrap_or(Value::Null), status)
    };
    let same = "generation_id,cost\ngen-1,0.000554488\ngen-2,1e-06\ngen-3,$2\n";
    let (report, status) = reconcile(same, &["--tolerance", "0"]);
    assert_eq!(status, 0);
    assert_eq!((&report["matched"], &report["drift_usd"]), (&json!(3), &json!("0.000000000000")));
    let other = "generation_id,cost\ngen-1,0.000554488\ngen-3,2.02\ngen-9,0.000000000001\n";
    let (report, status) = reconcile(other, &["--tolerance", "0.5"]);
    assert_eq!(status, 1);
    assert_eq!(
        (&report["matched"], &report["only_theirs"], &report["only_ours"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(report["drift_usd"], "0.019999000001");
    assert_eq!(report["differences"][0]["name"], "gen-3");
    assert_eq!(reconcile(other, &["--tolerance", "1"]).1, 0);
    let by_day =
        "Date;x\n".replace(";x", ",Model,Cost") + "2026-11-03T00:00:00Z,deepseek/deepseek-chat,2.000001\n";
    let (report, _) = reconcile(&by_day, &[]);
    assert_eq!((&report["by"], &report["matched"]), (&json!("day and model"), &json!(1)));
    assert_eq!(report["drift_usd"], "-0.000554488000");
    let foreign = "Betrag\n2.000555488\n";
    assert_eq!(reconcile(foreign, &[]).1, 1);
    let (report, _) = reconcile(foreign, &["--columns", "cost=Betrag"]);
    assert_eq!((&report["by"], &report["drift_usd"]), (&json!("total"), &json!("0.000000000000")));
}

#[test]
fn r29_damage_is_named_and_repaired_without_losing_money() {
    let (folder, ledger, runtime) = desk();
    let verify = |folder: &Path| tollway(folder, &["ledger", "verify"]);
    assert_eq!(verify(folder.path()).status.code(), Some(0));
    // Under way: charged by the next start, repaired or not.
    runtime.block_on(ledger.hold(&hold(4, "data", "2026-11-04T00:00:00Z", 7_000))).unwrap();
    // A running gateway keeps it from being repaired.
    let busy = tollway(folder.path(), &["ledger", "repair"]);
    assert!(String::from_utf8_lossy(&busy.stderr).contains("another tollway"));
    runtime.block_on(ledger.close()).unwrap();
    drop(ledger);
    let path = folder.path().join("data/ledger.db");
    let mut bytes = fs::read(&path).unwrap();
    // In the third request's name of an answer.
    let at = bytes.windows(5).position(|window| window == b"gen-3").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = verify(folder.path());
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("does not bear its checksum") && said.contains("tollway ledger repair"), "{said}");
    let exported = tollway(folder.path(), &["ledger", "export"]);
    assert_eq!(exported.status.code(), Some(1));
    let error = Ledger::open(&path, LedgerOptions::default()).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("damaged")));
    let (text, status) = printed(folder.path(), &["ledger", "repair", "--output", "json"]);
    assert_eq!(status, 0, "{text}");
    let repaired: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&repaired["requests"], &repaired["requests_expected"]), (&json!(2), &json!(3)));
    assert!(
        Path::new(repaired["kept_as"].as_str().unwrap()).is_file()
            || folder.path().join(repaired["kept_as"].as_str().unwrap()).is_file()
    );
    assert_eq!(verify(folder.path()).status.code(), Some(0));
    let (ledger, recovered) = Ledger::open(&path, LedgerOptions::default()).unwrap();
    assert_eq!(recovered.lost.len(), 1);
    // What the lost record cost is still spent.
    let (_, lines) = record(3, "data", "2026-11-03T00:00:00Z", 0, 0);
    assert_eq!(runtime.block_on(ledger.spent(lines)).unwrap(), [NanoUsd(2_000_007_000)]);
    runtime.block_on(ledger.close()).unwrap();
    assert_eq!(verify(folder.path()).status.code(), Some(0));
}

#[test]
fn without_a_ledger_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["ledger", "export"][..], &["ledger", "verify"], &["report"], &["ledger", "repair"]] {
        let output = tollway(folder.path(), words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("there is no ledger"), "{words:?}");
    }
    let config = "ledger: {path: /nowhere/else.db}\n";
    fs::write(folder.path().join("tollway.yaml"), config).unwrap();
    let output = tollway(folder.path(), &["report"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/else.db"));
}
