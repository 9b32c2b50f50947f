//! What a trace can do, and the loaders on real ones where a folder of them is named in `TRACES`; without one those tests say so and pass.

#![expect(clippy::cast_precision_loss, reason = "counts and times of traces fit a float's 53 bits")]

use std::path::PathBuf;

use super::{Draw, Error, Kind, Load, Trace, generate, load, read, shared_tokens};

/// A real trace, if there is a folder of them.
pub(super) fn real(file: &str, options: &Load) -> Option<Trace> {
    let Some(folder) = std::env::var_os("TRACES") else {
        #[expect(clippy::print_stderr, reason = "who reads the test's output must see what was left out")]
        {
            eprintln!("left out: TRACES names no folder with {file}");
        }
        return None;
    };
    Some(load(&PathBuf::from(folder).join(file), options).unwrap())
}

#[test]
fn a_trace_is_scaled_in_time_and_cut_in_length() {
    let whole = generate(Kind::Prefixes, 1, 300);
    let fast = whole.clone().scaled(3.0);
    assert!((whole.span_us() as f64 / fast.span_us() as f64 - 3.0).abs() < 1e-3);
    assert!(fast.arrivals.is_sorted_by_key(|arrival| arrival.at_us));
    let part = whole.clone().head(100);
    assert_eq!((part.arrivals.len(), part.arrivals[99]), (100, whole.arrivals[99]));
    assert_eq!(part.links_of(&part.arrivals[99]), whole.links_of(&whole.arrivals[99]));
    assert!(part.links.len() < whole.links.len());
    assert_eq!(whole.clone().head(1000).arrivals.len(), 300);
}

#[test]
fn a_file_is_read_whether_packed_or_not() {
    let text = b"t_ms,in_tokens,out_tokens\n0,5,6\n";
    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("a.csv"), folder.path().join("b.any"));
    std::fs::write(&plain, text).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text).unwrap();
    std::fs::write(&packed, encoder.finish().unwrap()).unwrap();
    let (one, other) = (load(&plain, &Load::default()).unwrap(), load(&packed, &Load::default()).unwrap());
    assert_eq!((&one.arrivals, one.name.as_str(), other.name.as_str()), (&other.arrivals, "a", "b"));
    let none = load(&folder.path().join("none"), &Load::default()).unwrap_err().to_string();
    assert!(none.contains("none: cannot be read"), "{none}");
    std::fs::write(&packed, [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    assert!(matches!(load(&packed, &Load::default()), Err(Error::Unreadable { .. })));
}

/// Files are damaged in all ways; they may be refused, but nothing may break.
#[test]
fn damaged_files_are_refused_or_read() {
    const FILES: [&str; 4] = [
        "t_ms,in_tokens,out_tokens,key\n0,5,6,a\n9.5,7,8,b\n",
        "session,seq,t_ms,in_tokens,out_tokens,shared_with,shared_tokens\na,0,0,90,5,-1,0\na,1,50,95,5,0,64\n",
        "{\"t_ms\":0,\"in\":9,\"out\":2,\"blocks\":[1,2],\"ends\":[4,9]}\n{\"t_ms\":3000,\"in\":9,\"out\":2,\"blocks\":[1]}\n",
        "{\"ts\":\"2026-11-24T10:00:05.000Z\",\"request_id\":\"b\",\"model\":\"m\",\"route\":\"x\",\"status\":200,\"outcome\":\"ok\",\
         \"stream\":true,\"prompt_tokens\":900,\"cached_tokens\":80,\"completion_tokens\":31,\"ttft_ms\":10,\"total_ms\":40}\n",
    ];
    const PARTS: [&str; 9] = ["", "-", "9999999999999999999", "e9", "NaN", ",", "\"", "\n", "\u{feff}"];
    let mut draw = Draw::new(1, 1);
    let (mut good, mut bad) = (0, 0);
    for round in 0..8000 {
        let mut text = FILES[round % FILES.len()].to_owned();
        let from = draw.below(text.len());
        let to = (from + draw.below(12)).min(text.len());
        text.replace_range(from..to, PARTS[draw.below(PARTS.len())]);
        let options = Load {
            seed: 1,
            limit: Some(draw.below(4)),
            span_s: [None, Some(f64::INFINITY), Some(-1.0)][round % 3],
        };
        match read(&text, "x", &options) {
            Ok(trace) => {
                assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at_us), "{text}");
                assert!(trace.links.iter().all(|link| link.block < trace.blocks), "{text}");
                good += 1;
            }
            Err(error) => {
                assert!(error.to_string().starts_with("x:"), "{error}");
                bad += 1;
            }
        }
    }
    assert!(good > 500 && bad > 500, "{good} read, {bad} refused");
}

fn mean(values: impl Iterator<Item = u32>) -> f64 {
    let values: Vec<f64> = values.map(f64::from).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn azure_chat_is_an_hour_of_five_and_a_half_requests_a_second() {
    let Some(trace) = real("azure_conv_2023.csv.gz", &Load::default()) else { return };
    assert_eq!(trace.arrivals.len(), 19_366);
    assert!((trace.span_us() as f64 / 3.5e9 - 1.0).abs() < 0.05);
    assert!((mean(trace.arrivals.iter().map(|a| a.prompt_tokens)) - 1155.0).abs() < 2.0);
    assert!((mean(trace.arrivals.iter().map(|a| a.output_tokens)) - 211.0).abs() < 2.0);
}

#[test]
fn mooncake_chat_shares_a_third_of_its_prompts_and_comes_evenly() {
    let Some(trace) = real("mooncake_conversation.jsonl.gz", &Load::default()) else { return };
    assert_eq!(trace.arrivals.len(), 12_031);
    assert!((mean(trace.arrivals.iter().map(|a| a.prompt_tokens)) - 12_035.0).abs() < 10.0);
    let mut seen = vec![false; trace.blocks as usize];
    let (mut old, mut all) = (0.0, 0.0);
    for arrival in &trace.arrivals {
        all += f64::from(arrival.prompt_tokens);
        let links = trace.links_of(arrival);
        old += links
            .iter()
            .take_while(|l| seen[l.block as usize])
            .last()
            .map_or(0.0, |l| f64::from(l.tokens_end));
        for link in links {
            seen[link.block as usize] = true;
        }
    }
    assert!((old / all - 0.37).abs() < 0.02, "{}", old / all);
    let most = trace.arrivals.chunk_by(|a, b| a.at_us == b.at_us).map(<[_]>::len).max().unwrap();
    assert_eq!(most, 1, "the source's steps of three seconds are spread");
}

#[test]
fn coding_agents_keep_sessions_and_their_common_prefixes() {
    let Some(trace) = real("agentic_coding_a.csv.gz", &Load::default()) else { return };
    assert_eq!((trace.arrivals.len(), trace.keys.len()), (10_638, 175));
    assert!((mean(trace.arrivals.iter().map(|a| a.prompt_tokens)) - 120_087.0).abs() < 10.0);
    let rate = trace.arrivals.len() as f64 / (trace.span_us() as f64 / 1e6);
    assert!((0.4..0.6).contains(&rate), "{rate}");
    // The longest prefix in common with any earlier call of the session.
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); trace.keys.len()];
    let (mut shared, mut all) = (0.0, 0.0);
    for (at, arrival) in trace.arrivals.iter().enumerate() {
        let earlier = &mut before[arrival.key as usize];
        let most = earlier
            .iter()
            .rev()
            .take(40)
            .map(|other| shared_tokens(&trace, &trace.arrivals[*other], arrival));
        shared += f64::from(most.max().unwrap_or(0));
        all += f64::from(arrival.prompt_tokens);
        earlier.push(at);
    }
    assert!((shared / all - 0.96).abs() < 0.015, "{}", shared / all);
    assert!(trace.links.len() < 1_500_000, "{} links", trace.links.len());
    let part = real("agentic_coding_a.csv.gz", &Load { limit: Some(3000), ..Load::default() }).unwrap();
    assert_eq!(part.arrivals.len(), 3000);
}

#[test]
fn a_day_has_its_clients_and_its_curve() {
    let Some(trace) = real("servegen_large_day.csv.gz", &Load::default()) else { return };
    assert_eq!(trace.arrivals.len(), 68_776);
    assert!(trace.keys.len() > 20);
    let mut hours = [0u32; 24];
    for arrival in &trace.arrivals {
        hours[usize::try_from(arrival.at_us / 3_600_000_000).unwrap().min(23)] += 1;
    }
    assert!(hours.iter().max().unwrap() > &(2 * hours.iter().min().unwrap()), "{hours:?}");
}
