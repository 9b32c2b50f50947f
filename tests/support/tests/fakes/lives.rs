//! Death and return.

use tollway_test_support::{Client, Dialect, End, Ending, FakeProvider, Gate, Kind, Reply};

use crate::chat;

#[tokio::test]
async fn a_killed_fake_refuses_and_cuts_and_comes_back_on_its_port() {
    let fake = FakeProvider::start().await;
    let gate = Gate::new();
    fake.script(Reply::events(["1", "2"]).before_packet(1, &gate));
    let client = Client::new(fake.address());
    for life in 1..=3 {
        let mut response = client.post("/v1/chat/completions", chat("tok-1", "")).send().await;
        response.next().await.unwrap();
        fake.kill();
        assert_ne!(response.rest().await.1, End::Whole);
        let refused = tokio::net::TcpStream::connect(fake.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(fake.recorded().last().unwrap().ending, Ending::Killed);
        fake.revive();
        assert_eq!(fake.count(), life);
    }
}

#[tokio::test]
async fn queued_answers_come_before_the_script() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    fake.enqueue(Reply::fixture("together_503"));
    fake.enqueue(Reply::error(500, "x", "y"));
    let client = Client::new(fake.address());
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.post("/v1/chat/completions", chat("tok-1", "")).send().await.status);
    }
    assert_eq!(statuses, [503, 500, 200]);
    fake.forget();
    assert_eq!((fake.count(), fake.recorded().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_each_get_their_own_token() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenRouter)).await;
    let client = Client::new(fake.address());
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let client = client.clone();
        calls.spawn(async move {
            let token = format!("tok-{number}");
            let body = chat(&token, if number % 2 == 0 { ",\"stream\":true" } else { "" });
            let text = client.post("/v1/chat/completions", body).send().await.text().await;
            assert!(text.contains(&format!("\"content\":\"{token}")), "{text}");
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(fake.count(), 1000);
}
