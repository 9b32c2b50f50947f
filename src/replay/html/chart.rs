//! Charts as inline SVG: a frame with axes, and what is drawn into it.

use std::fmt::Write as _;

/// The drawing's size and the room for its axes.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// What an axis shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) title: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Equal steps are equal factors.
    pub(super) log: bool,
    pub(super) show: fn(f64) -> String,
}

impl Axis {
    /// From nought to one, of a range that is not empty.
    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        if self.log {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let mut ticks = Vec::new();
            let mut decade = 10_f64.powf(self.from.log10().floor());
            while decade <= self.to {
                ticks.extend([1.0, 2.0, 5.0].map(|times| times * decade));
                decade *= 10.0;
            }
            ticks.retain(|tick| (self.from..=self.to).contains(tick));
            return ticks;
        }
        let rough = (self.to - self.from) / 6.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * decade).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.from / step).ceil();
        (0..20_u32)
            .map(|at| (first + f64::from(at)) * step)
            .take_while(|tick| *tick <= self.to + step * 1e-6)
            .collect()
    }
}

/// A chart that is being drawn.
#[derive(Debug)]
pub(super) struct Chart {
    x: Axis,
    y: Axis,
    body: String,
}

impl Chart {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        let widened = |axis: Axis| {
            if axis.to > axis.from {
                axis
            } else {
                Axis { to: axis.from + axis.from.abs().max(1e-6), ..axis }
            }
        };
        Self { x: widened(x), y: widened(y), body: String::new() }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM);
        (across, down)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (place, (x, y)) in points.iter().enumerate() {
            let (x, y) = self.at(*x, *y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if place == 0 { "M" } else { "L" });
        }
        path
    }

    /// A line; `class` says its colour.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str, title: &str) {
        let path = self.path(points);
        let _ = write!(
            self.body,
            "<path class=\"line {class}\" d=\"{path}\"><title>{}</title></path>",
            escaped(title)
        );
    }

    /// The area between two lines over the same places.
    pub(super) fn area(&mut self, x: &[f64], low: &[f64], high: &[f64], class: &str, title: &str) {
        let up = x.iter().copied().zip(high.iter().copied());
        let back = x.iter().copied().zip(low.iter().copied()).rev();
        let path = self.path(&up.chain(back).collect::<Vec<_>>());
        let _ = write!(
            self.body,
            "<path class=\"area {class}\" d=\"{path}Z\"><title>{}</title></path>",
            escaped(title)
        );
    }

    /// A point with a word beside it.
    pub(super) fn point(&mut self, (x, y): (f64, f64), class: &str, word: &str, title: &str) {
        let (x, y) = self.at(x, y);
        let _ = write!(
            self.body,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}</title></circle>",
            escaped(title)
        );
        let (dx, anchor) = if x > WIDTH * 0.7 { (-8.0, "end") } else { (8.0, "start") };
        let _ = write!(
            self.body,
            "<text class=\"word\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            x + dx,
            y + 4.0,
            escaped(word)
        );
    }

    /// A small point.
    pub(super) fn dot(&mut self, (x, y): (f64, f64), class: &str, title: &str) {
        let (x, y) = self.at(x, y);
        let _ = write!(
            self.body,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"><title>{}</title></circle>",
            escaped(title)
        );
    }

    /// The drawing, with its axes; `label` is for those who cannot see it.
    pub(super) fn finish(self, label: &str) -> String {
        let mut text =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escaped(label));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.y.ticks() {
            let (_, y) = self.at(self.x.from, tick);
            let _ = write!(
                text,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" />\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                escaped(&(self.y.show)(tick))
            );
        }
        for tick in self.x.ticks() {
            let (x, _) = self.at(tick, self.y.from);
            let _ = write!(
                text,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" />\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                escaped(&(self.x.show)(tick))
            );
        }
        let _ = write!(
            text,
            "{}<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"tick\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text></svg>",
            self.body,
            f64::midpoint(LEFT, right),
            HEIGHT - 6.0,
            escaped(self.x.title),
            f64::midpoint(TOP, bottom),
            escaped(self.y.title)
        );
        text
    }
}

/// Text that may stand in an element or an attribute.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
        safe
    })
}
