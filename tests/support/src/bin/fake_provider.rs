//! A fake provider that stands alone: for client suites, benchmarks and demonstrations.

#![allow(clippy::print_stdout, reason = "the address is this program's output")]

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::Parser;
use tollway_test_support::{Dialect, FakeProvider, Kind, Prebuilt, Price, Reply};

/// An invented upstream on loopback that speaks as one provider does.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example: fake-provider --kind together --first-token-ms 200 --gap-ms 20 --tokens 100"
)]
struct Options {
    /// Whose manners: openrouter, together, fireworks, deepseek or openai.
    #[arg(long, default_value = "openai")]
    kind: Kind,
    /// Port of 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Milliseconds before the first token.
    #[arg(long, default_value_t = 0)]
    first_token_ms: u64,
    /// Milliseconds between two events of a stream.
    #[arg(long, default_value_t = 0)]
    gap_ms: u64,
    /// Content tokens of an answer.
    #[arg(long, default_value_t = 12)]
    tokens: u64,
    /// Prompt tokens reported as cached, where the prompt has as many.
    #[arg(long, default_value_t = 0)]
    cached: u64,
    /// Dollars per million tokens as `input,cached,output`; OpenRouter's kind reports the cost from it.
    #[arg(long, default_value = "0.14,0.028,0.28")]
    price: String,
    /// The only models it has, separated by commas; without it, any.
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// The only key it takes; without it, any.
    #[arg(long)]
    key: Option<String>,
    /// Share of requests refused with 503, from 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    error_rate: f64,
    /// Which requests are refused follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Gives everybody the same answer, made ahead of time: for benchmarks. Errors, keys and models are not looked at.
    #[arg(long)]
    prebuilt: bool,
    /// With `--prebuilt`: bytes of a plain answer, filled up with text.
    #[arg(long, default_value_t = 0, requires = "prebuilt")]
    body_bytes: usize,
    /// With `--prebuilt`: threads that answer.
    #[arg(long, default_value_t = 1, requires = "prebuilt")]
    threads: usize,
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let dialect = dialect(&options);
    let (first, gap) = (Duration::from_millis(options.first_token_ms), Duration::from_millis(options.gap_ms));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads.max(1))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if options.prebuilt {
            let answers = Prebuilt::new(&dialect, options.body_bytes, first, gap);
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
            println!("listening http://{}/v1", listener.local_addr()?);
            return answers.serve(listener).await;
        }
        let fake = FakeProvider::on_port(options.port)?;
        fake.keep_no_records();
        let dialect = dialect.first_token(first).gap(gap);
        let dice = Dice::new(options.seed, options.error_rate);
        fake.on(
            move |request| {
                if dice.falls() { Reply::fixture("together_503") } else { dialect.answer(request) }
            },
        );
        println!("listening {}", fake.base_url());
        tokio::signal::ctrl_c().await
    })
}

fn dialect(options: &Options) -> Dialect {
    let prices: Vec<_> = options.price.split(',').map(str::trim).collect();
    let dialect = Dialect::new(options.kind).tokens(options.tokens).cached(options.cached);
    let dialect = dialect.models(options.models.iter().cloned());
    let dialect = if let Some(key) = &options.key { dialect.key(key) } else { dialect };
    match prices[..] {
        [input, cached, output] => dialect.price(Price::per_million(input, cached, output)),
        _ => dialect,
    }
}

/// Falls on a share of the throws; which ones follows from the seed.
struct Dice {
    state: AtomicU64,
    /// A throw below this falls.
    bound: u64,
}

impl Dice {
    fn new(seed: u64, share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share between 0 and 1 of the range of u32"
        )]
        let bound = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)).ceil() as u64;
        Self { state: AtomicU64::new(seed), bound }
    }

    fn falls(&self) -> bool {
        // SplitMix64: one addition a throw, so that threads may share it.
        let mut bits = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) >> 32 < self.bound
    }
}
