//! Prometheus text, read into numbers.

use std::collections::BTreeMap;

/// The series of one scrape: `name{label="value",…}` to number.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads an exposition; panics at a line that is none.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = samples.map(|line| {
            // The value stands behind the last brace, or behind the name where there are no labels.
            let from = line.rfind('}').map_or(0, |brace| brace + 1);
            let space = line[from..].find(' ').map(|space| from + space);
            let (series, value) = line.split_at(space.unwrap_or_else(|| panic!("not a sample: {line}")));
            let value = value.split_whitespace().next().and_then(|value| value.parse().ok());
            (series.to_owned(), value.unwrap_or_else(|| panic!("not a number: {line}")))
        });
        Self(samples.collect())
    }

    /// The sum over every series of that name that carries all these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // An empty sum of floats is -0.0, which compares equal but prints oddly.
        self.matching(name, labels).map(|(_, value)| value).sum::<f64>() + 0.0
    }

    /// Every series of that name that carries all these labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (&'a str, f64)> {
        let series = self.0.iter().filter(move |(series, _)| {
            let (family, set) = series.split_once('{').unwrap_or((series, "}"));
            let set = format!(",{}", set.trim_end_matches('}'));
            family == name
                && labels.iter().all(|(label, value)| set.contains(&format!(",{label}=\"{value}\"")))
        });
        series.map(|(series, value)| (series.as_str(), *value))
    }

    /// Every series.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(series, value)| (series.as_str(), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_name_and_labels() {
        let text =
            "# HELP a x\na{route=\"x y\",kind=\"k\"} 2\na{route=\"z\",kind=\"k\"} 3.5 1700\nab 7\nsum 1e-9\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.sum("a", &[("kind", "k")]) - 5.5).abs() < 1e-12);
        assert!((metrics.sum("a", &[("route", "x y")]) - 2.0).abs() < 1e-12);
        assert!((metrics.sum("ab", &[]) - 7.0).abs() < 1e-12);
        assert_eq!(metrics.matching("a", &[("route", "z y")]).count(), 0);
    }
}
