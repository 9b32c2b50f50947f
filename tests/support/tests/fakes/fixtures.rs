//! Stored payloads leave the fake as they are stored.

use tollway_test_support::{End, Fixture, Reply, events};

use crate::answer;

#[tokio::test]
async fn every_fixture_arrives_byte_for_byte() {
    assert_eq!(Fixture::all().len(), 11 + 29);
    for fixture in Fixture::all() {
        let (_fake, response) = answer(fixture.reply()).await;
        assert_eq!(response.status, fixture.status, "{}", fixture.name);
        for (name, value) in &fixture.headers {
            assert_eq!(response.headers.all(name).collect::<Vec<_>>(), [value], "{}", fixture.name);
        }
        assert_eq!(response.rest().await, (fixture.body.clone(), End::Whole), "{}", fixture.name);
    }
}

#[test]
fn line_ends_survived_the_checkout() {
    let crlf = Fixture::named("fireworks_stream_usage_own_chunk.sse");
    assert_eq!(crlf.body.windows(4).filter(|four| four == b"\r\n\r\n").count(), 8);
    assert_eq!(events(&crlf.body).len(), 8);
    assert!(Fixture::named("openrouter_body_padded.json").body.starts_with(b"\n"));
}

#[tokio::test]
async fn a_fixture_is_one_packet_an_event() {
    let (_fake, mut response) = answer(Reply::fixture("deepseek_stream_thinking.sse")).await;
    let first = response.next().await.unwrap();
    // Two comments and the first chunk stand before the first blank line behind data.
    assert!(first.starts_with(b": keep-alive\n\n: keep-alive\n\ndata: "));
    assert_eq!(events(&first).len(), 1);
}
