//! An edit to a policy changes routing under load without a failed request; a broken one changes nothing and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tollway_test_support::{Config, Dialect, Gate, Gateway, Kind, Reply};

use crate::{chat, fake, gateway, header, provider, streamed};

const FIRST: &str = "policy: p\nroutes: [first]\n";
const SECOND: &str = "policy: p\nroutes: [second]\n";

async fn route(gateway: &Gateway) -> String {
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!(response.status, 200);
    header(&response, "x-tollway-route").to_owned()
}

async fn until_route(gateway: &Gateway, wanted: &str) -> Duration {
    let began = Instant::now();
    while route(gateway).await != wanted {
        assert!(began.elapsed() < Duration::from_secs(20), "never {wanted}:\n{}", gateway.logs());
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_an_edit_under_load_changes_routing_and_fails_nobody() {
    const IN_FLIGHT: usize = 2_000;
    const STEP: usize = 50;
    let (first, second) = (fake().await, fake().await);
    let gate = Gate::new();
    let config = Config::new()
        .provider(provider("first", &first, "1"))
        .provider(provider("second", &second, "2"))
        .policy("a.yaml", FIRST);
    let gateway = Arc::new(gateway(config).await);
    let held = Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(3, gate.clone());
    let plain = Dialect::new(Kind::OpenAi);
    first.on(
        move |request| if request.json()["stream"] == true { held.clone() } else { plain.answer(request) },
    );
    let mut streams = Vec::new();
    while streams.len() < IN_FLIGHT {
        // In steps, since no machine takes two thousand new connections at once.
        for _ in 0..STEP {
            let gateway = Arc::clone(&gateway);
            streams.push(tokio::spawn(async move {
                let response = gateway.chat(&streamed("x")).send().await;
                let route = header(&response, "x-tollway-route").to_owned();
                (response.status, route, response.text().await)
            }));
        }
        gate.reached(streams.len()).await;
    }
    let began = Instant::now();
    gateway.write_policy("a.yaml", SECOND);
    until_route(&gateway, "second/served").await;
    let took = began.elapsed();
    // The bar is a second; the margin is for a machine that runs everything else at the same time.
    assert!(took < Duration::from_secs(3), "{took:?}");
    gate.open();
    for stream in streams {
        let (status, route, text) = stream.await.unwrap();
        assert_eq!((status, route.as_str()), (200, "first/served"), "under the policy it began with");
        assert!(text.contains("[DONE]") && !text.contains("\"error\""), "{text}");
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tollway_config_reload_generation", &[]), 2.0);
}

#[tokio::test]
async fn r45_a_broken_edit_changes_nothing_and_says_why() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "1"))
        .provider(provider("second", &second, "2"))
        .policy("a.yaml", FIRST);
    let gateway = gateway(config).await;
    for (broken, words) in [
        ("policy: p\nroutes: [frist]\n", "did you mean `first`?"),
        ("policy: p\nrouts: [second]\n", "unknown key `routs`"),
        ("policy: p\nroutes: [second\n", "not YAML"),
        ("policy: [1, 2]\n", "must be a single value"),
    ] {
        let generation = gateway.metrics().await.sum("tollway_config_reload_generation", &[]);
        gateway.write_policy("a.yaml", broken);
        let metrics = gateway
            .metrics_until("the refusal", |m| m.sum("tollway_config_reload_success", &[]) == 0.0)
            .await;
        assert_eq!(metrics.sum("tollway_config_reload_generation", &[]), generation);
        let ready = gateway.admin().get("/readyz").send().await;
        assert_eq!(ready.status, 200, "it still serves");
        let problem = ready.json().await["reload_problem"].as_str().unwrap().to_owned();
        assert!(problem.contains(words) && problem.contains("a.yaml:"), "{problem}");
        assert_eq!(route(&gateway).await, "first/served");
        gateway.write_policy("a.yaml", FIRST);
        gateway.sighup();
        gateway.metrics_until("the mend", |m| m.sum("tollway_config_reload_success", &[]) == 1.0).await;
        assert_eq!(route(&gateway).await, "first/served");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_many_reloads_half_of_them_broken_fail_no_request() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "1"))
        .provider(provider("second", &second, "2"))
        .policy("a.yaml", FIRST);
    let gateway = Arc::new(gateway(config).await);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut served = 0_u32;
                while !stop.load(Ordering::SeqCst) {
                    let response = gateway.chat(&chat("x")).send().await;
                    assert_eq!(response.status, 200);
                    response.bytes().await;
                    served += 1;
                }
                served
            })
        })
        .collect();
    for round in 0..100 {
        gateway.write_policy("a.yaml", if round % 2 == 0 { SECOND } else { FIRST });
        let answer = gateway.admin().request("POST", "/admin/v1/reload").send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            route(&gateway).await,
            if round % 2 == 0 { "second/served" } else { "first/served" },
            "at once"
        );
        gateway.write_policy("a.yaml", "policy: p\nroutes: [nobody]\n");
        let answer = gateway.admin().request("POST", "/admin/v1/reload").send().await;
        assert_eq!(answer.status, 422);
        assert!(answer.text().await.contains("names no provider"));
    }
    stop.store(true, Ordering::SeqCst);
    let mut served = 0;
    for caller in callers {
        served += caller.await.unwrap();
    }
    assert!(served > 100, "{served}");
}

#[tokio::test]
async fn r47_files_are_followed_however_people_change_them() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "1"))
        .provider(provider("second", &second, "2"))
        .policy("a.yaml", FIRST);
    let gateway = gateway(config).await;
    let policies = gateway.path("policies");
    let file = policies.join("a.yaml");
    // Rename over.
    gateway.write_policy("a.yaml", SECOND);
    until_route(&gateway, "second/served").await;
    // Truncate and write.
    std::fs::write(&file, FIRST).unwrap();
    until_route(&gateway, "first/served").await;
    // Delete, and put back.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, SECOND).unwrap();
    until_route(&gateway, "second/served").await;
    // A symbolic link that is swapped, as Kubernetes does.
    for (name, text) in [("one", FIRST), ("two", SECOND)] {
        std::fs::write(gateway.path(name), text).unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(gateway.path("one"), &file).unwrap();
    until_route(&gateway, "first/served").await;
    std::os::unix::fs::symlink(gateway.path("two"), policies.join("swap")).unwrap();
    std::fs::rename(policies.join("swap"), &file).unwrap();
    until_route(&gateway, "second/served").await;
    // The folder gone and back.
    let aside = gateway.path("aside");
    std::fs::rename(&policies, &aside).unwrap();
    gateway.metrics_until("the refusal", |m| m.sum("tollway_config_reload_success", &[]) == 0.0).await;
    assert_eq!(route(&gateway).await, "second/served");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(&file, FIRST).unwrap();
    until_route(&gateway, "first/served").await;
    // A slow writer: what is half there is never taken.
    let text = "policy: p\nroutes: [second]\nobjective: latency\n";
    for end in (0..=text.len()).step_by(10).chain([text.len()]) {
        std::fs::write(&file, &text[..end]).unwrap();
        tokio::task::yield_now().await;
    }
    until_route(&gateway, "second/served").await;
}
