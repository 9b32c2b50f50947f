//! `/admin/v1/keys` behind its token, and nowhere else.

use serde_json::{Value, json};

use crate::{admin_token, fake, gateway, keys, made, status, told, until};

const PATH: &str = "/admin/v1/keys";

#[tokio::test]
async fn keys_are_made_shown_rotated_and_revoked() {
    let fake = fake().await;
    let gateway = gateway(&fake, &[]).await;
    let token = admin_token(&gateway);
    let ask = json!({
        "name": "a", "team": "search", "user": "u", "organisation": "o", "tags": {"env": "prod"}, "models": ["test-*"],
        "budget": {"usd": "50", "per": "month"}, "rpm": 600, "tpm": 200_000, "concurrency": 20,
        "expires_in_seconds": 7_776_000,
    });
    let admin = gateway.admin();
    let created = admin.post(PATH, ask.to_string()).key(&token).send().await;
    assert_eq!(created.status, 201);
    assert_eq!(created.headers.get("cache-control").unwrap(), "no-store");
    let created = created.json().await;
    let key = created["key"].as_str().unwrap().to_owned();
    assert_eq!(status(&gateway, &key).await, 200, "in force at once where it was made");
    let shown = admin.get(&format!("{PATH}/a")).key(&token).send().await.json().await;
    assert_eq!((&shown["state"], &shown["budget"]["time_zone"]), (&json!("active"), &json!("UTC")));
    assert!(!shown.to_string().contains(&key[20..]));
    let list = admin.get(PATH).key(&token).send().await.json().await;
    assert_eq!(list["keys"], json!([shown]));
    let again = admin.post(PATH, ask.to_string()).key(&token).send().await;
    assert_eq!((again.status, error(&again.json().await)), (409, "key_exists".to_owned()));
    let rotated = admin.post(&format!("{PATH}/a/rotate"), "").key(&token).send().await.json().await;
    let new = rotated["key"].as_str().unwrap();
    assert_eq!((status(&gateway, new).await, status(&gateway, &key).await), (200, 200));
    let revoked = admin.request("DELETE", &format!("{PATH}/a")).key(&token).send().await;
    assert_eq!((revoked.status, &revoked.json().await["state"]), (200, &json!("revoked")));
    assert_eq!((status(&gateway, new).await, status(&gateway, &key).await), (401, 401), "refused at once");
    let ended = admin.post(&format!("{PATH}/a/rotate"), "{}").key(&token).send().await;
    assert_eq!((ended.status, error(&ended.json().await)), (409, "key_ended".to_owned()));
    for (body, status) in
        [("{", 400), (r#"{"rpm":0}"#, 400), (r#"{"odd":1}"#, 400), (&*"x".repeat(70_000), 413)]
    {
        assert_eq!(admin.post(PATH, body.to_owned()).key(&token).send().await.status, status);
    }
    let gone = admin.get(&format!("{PATH}/nobody")).key(&token).send().await;
    assert_eq!((gone.status, error(&gone.json().await)), (404, "key_not_found".to_owned()));
}

fn error(body: &Value) -> String {
    body["error"]["code"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn the_command_line_works_on_a_running_gateway() {
    let fake = fake().await;
    let gateway = gateway(&fake, &[]).await;
    let url = format!("http://{}", gateway.admin_address());
    let there = |words: &[&str]| told(&gateway, &[words, &["--url", &url]].concat());
    let created = there(&["create", "--name", "a", "--budget", "5/day", "--budget-zone", "Europe/Berlin"]);
    let key = created["key"].as_str().unwrap();
    assert_eq!(status(&gateway, key).await, 200);
    assert_eq!(there(&["list"])["keys"][0]["budget"]["time_zone"], json!("Europe/Berlin"));
    there(&["revoke", "a"]);
    assert_eq!(status(&gateway, key).await, 401);
    let wrong = keys(&gateway, &["list", "--url", &url, "--token", "wrong"]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(!wrong.status.success() && said.contains("401"), "{said}");
}

#[tokio::test]
async fn wrong_words_are_refused_before_anything_is_made() {
    let fake = fake().await;
    let gateway = gateway(&fake, &[]).await;
    for (words, named) in [
        (&["create", "--team", "a b"][..], "--team"),
        (&["create", "--budget", "50/year"], "--budget"),
        (&["create", "--rpm", "0"], "--rpm"),
        (&["create", "--expires", "1s"], "--expires"),
        (&["create", "--expires", "2020-01-01T00:00:00Z"], "--expires"),
        (&["create", "--expires", "soon"], "--expires"),
        (&["create", "--tags", "x"], "--tags"),
        (&["rotate", "a", "--overlap", "31d"], "--overlap"),
    ] {
        let output = keys(&gateway, words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(named), "{words:?}: {said}");
    }
    assert_eq!(told(&gateway, &["list"])["keys"], json!([]));
}

#[tokio::test]
async fn r53_keys_are_changed_behind_the_admin_token_only() {
    let fake = fake().await;
    let gateway = gateway(&fake, &[]).await;
    let token = admin_token(&gateway);
    let key = made(&gateway, &["--name", "a"]).await;
    let calls = [
        ("GET", PATH.to_owned()),
        ("POST", PATH.to_owned()),
        ("GET", format!("{PATH}/a")),
        ("DELETE", format!("{PATH}/a")),
        ("POST", format!("{PATH}/a/rotate")),
        ("GET", format!("{PATH}/a/usage")),
    ];
    for (method, path) in &calls {
        // On loopback without a configured token too, and whatever Host says.
        for credential in ["", "wrong", &key] {
            let request = gateway.admin().request(method, path).header("x-forwarded-for", "127.0.0.1");
            let request = if credential.is_empty() { request } else { request.key(credential) };
            let status = request.body("{}").send().await.status;
            assert!(status == 401 || status == 429, "{method} {path} with {credential:?}: {status}");
        }
    }
    let pages =
        ["/admin/v1/explain?model=x", "/admin/v1/routes", "/admin/v1/openapi.json", "/metrics", "/readyz"];
    let pages = pages.map(|page| ("GET", page.to_owned()));
    let reload = ("POST", "/admin/v1/reload".to_owned());
    for (method, path) in calls.iter().chain(&pages).chain([&reload]) {
        for credential in [&token, &key] {
            let request = gateway.client().request(method, path).key(credential).body("{}");
            assert_eq!(request.send().await.status, 404, "{method} {path} where callers connect");
        }
    }
    assert_eq!(status(&gateway, &key).await, 200, "nothing has changed");
}

#[tokio::test]
async fn a_configured_token_counts_and_the_made_one_does_not() {
    let fake = fake().await;
    let gateway = gateway(&fake, &["admin: {listen: '127.0.0.1:0', token: an-admin-token}"]).await;
    assert!(!gateway.path("data/admin.token").exists());
    let list = |token: &str| gateway.admin().get(PATH).key(token).send();
    assert_eq!((list("an-admin-token").await.status, list("another").await.status), (200, 401));
    // The command line finds it in the configuration.
    let url = format!("http://{}", gateway.admin_address());
    let created = told(&gateway, &["create", "--name", "a", "--url", &url]);
    until(&gateway, created["key"].as_str().unwrap(), 200).await;
}
