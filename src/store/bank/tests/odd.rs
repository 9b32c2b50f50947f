//! Answers that no script gives: each at each command, from a Redis that says what it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tollway_test_support::Redis;

use crate::budget::Why;
use crate::units::NanoUsd;

use super::wire::host;
use super::{Replica, State, budget, demand, level, until};

/// A Redis that is real but for its answers to scripts whose text or name is on the list.
struct Fake {
    url: String,
    answers: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    /// By the script's file, what is said instead of the answer; nothing: the connection ends.
    odd: HashMap<&'static str, Vec<u8>>,
    /// Names of scripts as loaded.
    names: HashMap<Vec<u8>, &'static str>,
    /// How often each was said.
    said: HashMap<&'static str, u32>,
    /// `SCRIPT LOAD` is refused.
    no_load: bool,
}

/// Something that only one script's text has.
const MARKS: [(&str, &str); 5] = [
    ("admit", "Admits a request whole"),
    ("settle", "Gives holds back, makes others"),
    ("grow", "Makes a hold larger"),
    ("beat", "Says that this replica lives, renews"),
    ("join", "Writes all that this replica holds"),
];

impl Fake {
    async fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/0", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers::default()));
        let (shared, real) = (Arc::clone(&answers), host(redis.url()));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(real).await else { continue };
                tokio::spawn(serve(near, far, Arc::clone(&shared)));
            }
        });
        Self { url, answers }
    }

    fn say(&self, script: &'static str, answer: &[u8]) {
        self.answers.lock().unwrap().odd.insert(script, answer.to_vec());
    }

    fn be_real(&self) {
        self.answers.lock().unwrap().odd.clear();
    }

    fn said(&self, script: &str) -> u32 {
        self.answers.lock().unwrap().said.get(script).copied().unwrap_or(0)
    }
}

async fn serve(near: TcpStream, far: TcpStream, answers: Arc<Mutex<Answers>>) -> Option<()> {
    let (near, mut to_near) = near.into_split();
    let (far, mut to_far) = far.into_split();
    let (mut near, mut far) = (BufReader::new(near), BufReader::new(far));
    loop {
        let words = command(&mut near).await?;
        let verb = words[0].to_ascii_uppercase();
        let script = {
            let mut answers = answers.lock().unwrap();
            let text = |text: &[u8]| {
                let text = String::from_utf8_lossy(text);
                MARKS.iter().find(|(_, mark)| text.contains(mark)).map(|(name, _)| *name)
            };
            let script = match &*verb {
                b"EVALSHA" => answers.names.get(&words[1]).copied(),
                b"EVAL" => text(&words[1]),
                b"SCRIPT" if answers.no_load => Some("load"),
                _ => None,
            };
            let odd = script.and_then(|name| Some((name, answers.odd.get(name)?.clone())));
            if let Some((name, _)) = &odd {
                *answers.said.entry(name).or_default() += 1;
            }
            odd.map(|(_, answer)| answer)
        };
        match script {
            Some(answer) if answer.is_empty() => return None,
            // What is said of the name is not said of the text.
            Some(answer) if answer.starts_with(b"-NOSCRIPT") && verb == b"EVAL" => {}
            Some(answer) => {
                to_near.write_all(&answer).await.ok()?;
                continue;
            }
            None => {}
        }
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in &words {
            request.extend(format!("${}\r\n", word.len()).bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        to_far.write_all(&request).await.ok()?;
        let mut answer = Vec::new();
        reply(&mut far, &mut answer).await?;
        if verb == b"SCRIPT" {
            let name = answer.split(|byte| *byte == b'\n').nth(1)?.strip_suffix(b"\r")?.to_vec();
            let text = String::from_utf8_lossy(&words[2]).into_owned();
            if let Some((mark, _)) = MARKS.iter().find(|(_, mark)| text.contains(mark)) {
                answers.lock().unwrap().names.insert(name, mark);
            }
        }
        to_near.write_all(&answer).await.ok()?;
    }
}

async fn command(from: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    for _ in 0..number(&line(from).await?)? {
        let length = number(&line(from).await?)?;
        let mut word = vec![0; length + 2];
        from.read_exact(&mut word).await.ok()?;
        word.truncate(length);
        words.push(word);
    }
    Some(words)
}

async fn line(from: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await.ok().filter(|length| *length > 0)?;
    Some(line)
}

fn number(line: &[u8]) -> Option<usize> {
    std::str::from_utf8(line.get(1..)?).ok()?.trim_end().parse().ok()
}

/// Copies one whole answer.
async fn reply(from: &mut (impl AsyncBufReadExt + Unpin), to: &mut Vec<u8>) -> Option<()> {
    let mut left = 1_usize;
    while left > 0 {
        left -= 1;
        let line = line(from).await?;
        to.extend_from_slice(&line);
        match line[0] {
            b'*' => left += number(&line).unwrap_or(0),
            b'$' => {
                if let Some(length) = number(&line) {
                    let mut bulk = vec![0; length + 2];
                    from.read_exact(&mut bulk).await.ok()?;
                    to.extend_from_slice(&bulk);
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// What no script answers, and how the bank calls it; empty where it gets what it asked for all the same.
const ODD: [(&[u8], &str); 16] = [
    (b"-NOSCRIPT No matching script. Please use EVAL.\r\n", ""),
    (b"-READONLY You can't write against a read only replica.\r\n", "READONLY"),
    (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
    (b"-MOVED 3999 127.0.0.1:6381\r\n", "MOVED"),
    (b"-CLUSTERDOWN The cluster is down\r\n", "CLUSTERDOWN"),
    (b"-BUSY Redis is busy running a script.\r\n", "BUSY"),
    (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM"),
    (b"-NOREPLICAS Not enough good replicas to write.\r\n", "NOREPLICAS"),
    (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "MISCONF"),
    (b"-NOPERM this user has no permissions to run the 'evalsha' command\r\n", "NOPERM"),
    (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "WRONGTYPE"),
    (b"+OK\r\n", "odd"),
    (b"*2\r\n$2\r\nok\r\n*1\r\n:1\r\n", "odd"),
    (b"*2\r\n$2\r\nok\r\n*3\r\n:1\r\n$3\r\nabc\r\n:2\r\n", "odd"),
    (b"$-1\r\n", "odd"),
    (b"", "unreachable"),
];

#[tokio::test(flavor = "multi_thread")]
async fn r44_no_odd_answer_to_an_admission_lets_a_request_pass() {
    let redis = Redis::start().await;
    let fake = Fake::before(&redis).await;
    let a = Replica::open(&fake.url, "a", |_| {}).await;
    let budget = budget("team/q", 1_000_000);
    for (answer, word) in ODD {
        a.opened().await;
        fake.say("admit", answer);
        let one = demand(&budget, 100);
        let verdict = a.admit(&one).await;
        if word.is_empty() {
            assert!(verdict.is_ok(), "{}", answer.escape_ascii());
            a.bank.settle(one.id, NanoUsd(0), 0);
        } else {
            let refusal = verdict.unwrap_err();
            assert_eq!(refusal.why, Why::StoreLost, "{}", answer.escape_ascii());
            let error = a.bank.state().1.unwrap();
            assert_eq!(error.word(), word, "{} is {error}", answer.escape_ascii());
        }
        fake.be_real();
        a.opened().await;
        a.told().await;
        assert_eq!(level(&a, &budget).await, (0, 0), "{} left something", answer.escape_ascii());
    }
    assert!(fake.said("admit") >= 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_no_odd_answer_in_the_background_loses_what_was_charged() {
    let redis = Redis::start().await;
    let fake = Fake::before(&redis).await;
    let a = Replica::open(&fake.url, "a", |_| {}).await;
    let budget = budget("team/w", 1_000_000);
    let mut spent = 0;
    for (answer, word) in ODD {
        for script in ["settle", "beat", "join", "grow"] {
            a.opened().await;
            let one = demand(&budget, 100);
            while a.admit(&one).await.is_err() {
                a.opened().await;
            }
            let before = fake.said(script);
            fake.say(script, answer);
            match script {
                "join" => redis.command(&[b"HDEL", b"tollway:{default}:fleet", b"epoch"]),
                _ => String::new(),
            };
            if script == "grow" {
                let grown = a.bank.grow(one.id, NanoUsd(10), crate::units::Clock::now(&*a.clock)).await;
                assert!(!grown || word.is_empty(), "{}", answer.escape_ascii());
            }
            assert!(a.bank.settle(one.id, NanoUsd(70), 0).was_held);
            spent += 70;
            until("it was said", || fake.said(script) > before).await;
            fake.be_real();
        }
    }
    a.opened().await;
    a.told().await;
    assert_eq!(level(&a, &budget).await, (spent, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_where_scripts_may_not_be_left_they_are_sent() {
    let redis = Redis::start().await;
    let fake = Fake::before(&redis).await;
    fake.answers.lock().unwrap().no_load = true;
    fake.say("load", b"-NOPERM this user has no permissions to run the 'script|load' command\r\n");
    let a = Replica::open(&fake.url, "a", |_| {}).await;
    let budget = budget("team/e", 150);
    a.admit(&demand(&budget, 100)).await.unwrap();
    let why = a.admit(&demand(&budget, 100)).await.unwrap_err().why;
    assert!(matches!(why, Why::Budget { .. }), "{why:?}");
}

#[tokio::test]
async fn r44_what_somebody_else_put_in_our_keys_is_cleared() {
    let redis = Redis::start().await;
    let a = Replica::open(redis.url(), "a", |_| {}).await;
    let budget = budget("team/y", 1_000);
    let one = demand(&budget, 100);
    a.admit(&one).await.unwrap();
    let key = a.bank.inner().account.holds[&one.id].stakes[0].key.to_string();
    for garble in [
        vec!["SET", &key, "text"],
        vec!["SET", "tollway:{default}:fleet", "text"],
        vec!["SET", "tollway:{default}:holds:a", "text"],
        vec!["HSET", &key, "s:b", "not a number"],
        vec!["HSET", &key, "l:b", "half@"],
        vec!["HSET", "tollway:{default}:fleet", "open", "never"],
        vec!["HSET", "tollway:{default}:fleet", "seq:a", "never"],
    ] {
        if garble[0] == "SET" {
            redis.command(&[b"DEL", garble[1].as_bytes()]);
        }
        let words: Vec<&[u8]> = garble.iter().map(|word| word.as_bytes()).collect();
        redis.command(&words);
        // Whether it was there before anybody looked, nothing more passes than there is room for.
        let (mut passed, deadline) = (Vec::new(), std::time::Instant::now() + Duration::from_secs(1));
        while std::time::Instant::now() < deadline {
            let more = demand(&budget, 100);
            if a.admit(&more).await.is_ok() {
                passed.push(more.id);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(passed.len() == 9, "{} after {garble:?}", passed.len());
        for id in passed {
            a.bank.settle(id, NanoUsd(0), 0);
        }
        a.until(&[State::Open]).await;
        a.told().await;
    }
}
