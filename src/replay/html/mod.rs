//! A comparison as one page with charts, which needs nothing but itself: no script, no font, no picture from elsewhere.

mod chart;

use std::fmt::Write as _;

use super::compare::{Comparison, Side};
use super::protocol::report::{percent, span, usd};
use chart::{Axis, Chart, escaped};

/// Colours that most eyes tell apart, for light and for dark.
const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --paper: #fff; --grid: #e4e7ec;
  --a: #2563c9; --b: #c2570c; --o: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --paper: #14171e; --grid: #2b313d;
  --a: #6ea8ff; --b: #ff9f5a; --o: #9aa4b2; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p, .tick, .word { color: var(--soft); fill: var(--soft); } svg { width: 100%; height: auto; }
.tick, .word { font-size: 11px; } .grid { stroke: var(--grid); } .line { fill: none; stroke-width: 2; }
.line.a { stroke: var(--a); } .line.b { stroke: var(--b); } .line.o { stroke: var(--o); stroke-dasharray: 5 4; }
circle.a { fill: var(--a); } circle.b { fill: var(--b); } circle.o { fill: var(--o); }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid var(--grid); }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 1rem; border-radius: 2px; vertical-align: -1px; }
.key.a { background: var(--a); } .key.b { background: var(--b); } .key.o { background: var(--o); }
";

/// Colours of routes, one after the other and then again.
const ROUTES: [&str; 12] = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999933", "#882255", "#44aa99",
    "#dd7788", "#7788cc", "#997755",
];

/// The page.
pub fn page(all: &Comparison) -> String {
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" /><meta name=\"viewport\" content=\"width=device-width\" />\
         <title>Replay of {}</title><style>{STYLE}",
        escaped(&all.trace)
    );
    for (at, colour) in ROUTES.iter().enumerate() {
        let _ = writeln!(text, ".area.r{at} {{ fill: {colour}; }} .key.r{at} {{ background: {colour}; }}");
    }
    let (ttft_s, per_1k_s) = all.promise_s;
    let _ = write!(
        text,
        "</style></head><body><h1>Replay of {}</h1><p>{} requests over {}, in market {}, {} seeds. A first token is late after \
         {ttft_s} s and {per_1k_s} s for each thousand prompt tokens.</p><p>{}</p>",
        escaped(&all.trace),
        all.requests,
        span(all.span_s),
        escaped(&all.market),
        all.seeds,
        legend(all)
    );
    table(&mut text, all);
    section(
        &mut text,
        "Cost and promptness",
        "Right and down is better. Small points are runs of the informed oracle, the dashed line the least that it pays.",
        &frontier(all),
    );
    section(&mut text, "In time, minute by minute", "Share of first tokens in time.", &minutes(all));
    section(&mut text, "Time to the first token", "Share of requests that had it by then.", &times(all));
    for side in &all.sides {
        let title = format!("Who served: {}", side.name);
        section(&mut text, &title, &routes_legend(side), &shares(all, side));
    }
    text.push_str("</body></html>\n");
    text
}

const CLASSES: [&str; 2] = ["a", "b"];

fn sides(all: &Comparison) -> impl Iterator<Item = (&'static str, &Side)> {
    CLASSES.into_iter().zip(&all.sides)
}

fn legend(all: &Comparison) -> String {
    sides(all).fold(String::new(), |mut text, (class, side)| {
        let _ = write!(text, "<span class=\"key {class}\"></span>{}", escaped(&side.name));
        text
    })
}

fn routes_legend(side: &Side) -> String {
    side.routes.iter().enumerate().fold(String::new(), |mut text, (at, route)| {
        let _ = write!(text, "<span class=\"key r{}\"></span>{}", at % ROUTES.len(), escaped(&route.name));
        text
    })
}

/// `about` is markup.
fn section(text: &mut String, title: &str, about: &str, chart: &str) {
    let _ = write!(text, "<h2>{}</h2><p>{about}</p>{chart}", escaped(title));
}

/// A row of the table: what it says, and how.
type Figure = (&'static str, fn(&Side) -> String);

fn table(text: &mut String, all: &Comparison) {
    let figures: [Figure; 11] = [
        ("spend, USD", |side| usd(side.mean.spend_usd)),
        ("attempts without an answer, USD", |side| usd(side.mean.wasted_usd)),
        ("probes, USD", |side| usd(side.mean.probes_usd)),
        ("in time", |side| percent(side.mean.attainment, 2)),
        ("in time in the worst 60 s", |side| percent(side.mean.worst_minute, 1)),
        ("first token, p50 / p95 / p99", |side| {
            side.mean.ttft_s.map(|time| format!("{time:.2} s")).join(" / ")
        }),
        ("errors that callers saw", |side| format!("{:.1}", side.mean.errors)),
        ("second attempts a request", |side| format!("{:.3}", side.mean.hedges)),
        ("above the informed oracle", |side| {
            side.regret.map_or("–".to_owned(), |regret| percent(regret.share, 1))
        }),
        ("lower bound, USD", |side| side.bound_usd.map_or("–".to_owned(), usd)),
        ("requests that no policy decides", |side| side.undecided.to_string()),
    ];
    text.push_str("<table><tr><th></th>");
    for side in &all.sides {
        let _ = write!(text, "<th>{}</th>", escaped(&side.name));
    }
    text.push_str("</tr>");
    let mut row = |name: &str, cells: Vec<String>| {
        let _ = write!(text, "<tr><td>{}</td>", escaped(name));
        for cell in cells {
            let _ = write!(text, "<td>{}</td>", escaped(&cell));
        }
        text.push_str("</tr>");
    };
    for (name, figure) in figures {
        row(name, all.sides.iter().map(figure).collect());
    }
    for (at, route) in all.sides.first().map_or(&[][..], |side| &side.routes).iter().enumerate() {
        let cell = |side: &Side| {
            side.routes
                .get(at)
                .map_or(String::new(), |one| format!("{:.0} · {} USD", one.requests, usd(one.usd)))
        };
        row(&format!("served by {}", route.name), all.sides.iter().map(cell).collect());
    }
    text.push_str("</table>");
}

fn range(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    (values.clone().fold(f64::MAX, f64::min), values.fold(f64::MIN, f64::max))
}

fn whole_percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 0.05 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

fn frontier(all: &Comparison) -> String {
    let oracle: &[(f64, f64)] = all.oracle.as_ref().map_or(&[], |curve| &curve.hull);
    let ours = all.sides.iter().map(|side| (side.mean.attainment, side.mean.spend_usd));
    let others = all.baselines.iter().map(|rival| (rival.mean.attainment, rival.mean.spend_usd));
    let runs = all.oracle.iter().flat_map(|curve| &curve.points);
    let every: Vec<(f64, f64)> =
        ours.chain(others).chain(runs.map(|point| (point.attainment, point.usd))).collect();
    let (low, _) = range(every.iter().map(|point| point.0));
    let (least, most) = range(every.iter().map(|point| point.1));
    let log = most > 6.0 * least.max(1e-12);
    let x = Axis { title: "in time", from: (low - 0.01).max(0.0), to: 1.0, log: false, show: whole_percent };
    let from = if log { least * 0.8 } else { 0.0 };
    let mut chart = Chart::new(x, Axis { title: "USD", from, to: most * 1.1, log, show: usd });
    chart.line(oracle, "o", "the informed oracle");
    for point in all.oracle.iter().flat_map(|curve| &curve.points) {
        let title = format!("the informed oracle: {} USD, {}", usd(point.usd), percent(point.attainment, 2));
        chart.dot((point.attainment, point.usd), "o", &title);
    }
    for rival in &all.baselines {
        let title = format!(
            "{}: {} USD, {}",
            rival.name,
            usd(rival.mean.spend_usd),
            percent(rival.mean.attainment, 2)
        );
        chart.point((rival.mean.attainment, rival.mean.spend_usd), "o", rival.name, &title);
    }
    for (class, side) in sides(all) {
        let title =
            format!("{}: {} USD, {}", side.name, usd(side.mean.spend_usd), percent(side.mean.attainment, 2));
        chart.point((side.mean.attainment, side.mean.spend_usd), class, &side.name, &title);
    }
    chart.finish("spend against the share of first tokens in time")
}

#[expect(clippy::cast_precision_loss, reason = "slots of a chart")]
fn minute_at(all: &Comparison, slot: usize) -> f64 {
    (slot as f64 + 0.5) * all.slot_s / 60.0
}

fn minute_axis(all: &Comparison) -> Axis {
    let slots = all.sides.iter().map(|side| side.attained_by_slot.len()).max().unwrap_or(1);
    let to = minute_at(all, slots.max(1)) - all.slot_s / 120.0;
    Axis { title: "minutes", from: 0.0, to, log: false, show: |minute| format!("{minute:.0}") }
}

fn minutes(all: &Comparison) -> String {
    let values = all.sides.iter().flat_map(|side| side.attained_by_slot.iter().flatten().copied());
    let (low, _) = range(values);
    let from = (low - 0.02).clamp(0.0, 0.98);
    let mut chart = Chart::new(
        minute_axis(all),
        Axis { title: "in time", from, to: 1.0, log: false, show: whole_percent },
    );
    for (class, side) in sides(all) {
        let slots = side.attained_by_slot.iter().enumerate();
        let points: Vec<(f64, f64)> =
            slots.filter_map(|(slot, share)| Some((minute_at(all, slot), (*share)?))).collect();
        chart.line(&points, class, &side.name);
    }
    chart.finish("share of first tokens in time by minute")
}

fn times(all: &Comparison) -> String {
    // Those who never had one stand at the right edge.
    const LONGEST_S: f64 = 120.0;
    let values = all.sides.iter().flat_map(|side| side.ttft_quantiles_s.iter().copied());
    let (low, high) = range(values.map(|time| time.clamp(0.01, LONGEST_S)));
    let x =
        Axis { title: "seconds", from: low * 0.9, to: high * 1.1, log: true, show: |time| format!("{time}") };
    let mut chart =
        Chart::new(x, Axis { title: "requests", from: 0.0, to: 1.0, log: false, show: whole_percent });
    for (class, side) in sides(all) {
        let points: Vec<(f64, f64)> =
            (0_u32..).zip(&side.ttft_quantiles_s).map(|(at, time)| (*time, f64::from(at) / 100.0)).collect();
        chart.line(&points, class, &side.name);
    }
    chart.finish("distribution of times to the first token")
}

fn shares(all: &Comparison, side: &Side) -> String {
    let mut chart = Chart::new(
        minute_axis(all),
        Axis { title: "of requests", from: 0.0, to: 1.0, log: false, show: whole_percent },
    );
    let slots = side.attained_by_slot.len();
    let x: Vec<f64> = (0..slots).map(|slot| minute_at(all, slot)).collect();
    let mut low = vec![0.0; slots];
    for (at, (route, shares)) in side.routes.iter().zip(&side.routes_by_slot).enumerate() {
        let high: Vec<f64> = low.iter().zip(shares).map(|(low, share)| low + share).collect();
        chart.area(&x, &low, &high, &format!("r{}", at % ROUTES.len()), &route.name);
        low = high;
    }
    chart.finish(&format!("share of requests by route under {}", side.name))
}
