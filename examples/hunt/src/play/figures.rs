//! What the processes of a hunt say of themselves at `/metrics`, read as text.

use super::http::Http;
use std::collections::BTreeMap;

/// Values by series, such as `hunt_events_waiting` or `hunt_append_seconds_bucket{le="0.1"}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Reads the text of `/metrics`.
    pub fn read(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// Those of all doors together; nothing when one of them does not answer.
    pub async fn of(urls: &[String]) -> Option<Self> {
        let mut all = Self::default();
        for url in urls {
            let (status, text) = Http::new(url).text("/metrics").await.ok()?;
            if status != 200 {
                return None;
            }
            for (name, value) in Self::read(&text).0 {
                *all.0.entry(name).or_default() += value;
            }
        }
        Some(all)
    }

    /// The sum of a metric over its labels.
    pub fn sum(&self, metric: &str) -> f64 {
        let labelled = format!("{metric}{{");
        let is_of = |name: &String| name == metric || name.starts_with(&labelled);
        self.0.iter().filter(|(name, _)| is_of(name)).map(|(_, value)| value).sum()
    }

    /// The bound below which 99 of 100 values of a histogram lie that came since `before`, in the histogram's unit.
    pub fn p99_since(&self, before: &Self, histogram: &str) -> f64 {
        let buckets = |figures: &Self| -> BTreeMap<u64, f64> {
            let mut buckets = BTreeMap::new();
            let prefix = format!("{histogram}_bucket");
            for (name, value) in figures.0.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                let bound = name.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
                let Some(bound) = bound.and_then(|bound| bound.trim_start_matches('+').parse::<f64>().ok()) else {
                    continue;
                };
                // Positive numbers are in the order of their bits.
                *buckets.entry(bound.to_bits()).or_default() += value;
            }
            buckets
        };
        let old = buckets(before);
        let new: Vec<(f64, f64)> = buckets(self)
            .into_iter()
            .map(|(bound, count)| (f64::from_bits(bound), count - old.get(&bound).copied().unwrap_or(0.0)))
            .collect();
        let total = new.last().map_or(0.0, |(_, count)| *count);
        let finite = |bound: &f64| bound.is_finite();
        let found = new.iter().find(|(_, count)| *count >= 0.99 * total).map(|(bound, _)| *bound);
        // What is above the last bound is at least that.
        let highest = new.iter().map(|(bound, _)| *bound).filter(finite).fold(0.0, f64::max);
        if total == 0.0 { 0.0 } else { found.filter(finite).unwrap_or(highest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# TYPE hunt_append_seconds histogram
hunt_append_seconds_bucket{le=\"0.01\"} 100
hunt_append_seconds_bucket{le=\"0.1\"} 100
hunt_append_seconds_bucket{le=\"+Inf\"} 100
hunt_events_waiting 3
";
    const AFTER: &str = "hunt_append_seconds_bucket{le=\"0.01\"} 198
hunt_append_seconds_bucket{le=\"0.1\"} 199
hunt_append_seconds_bucket{le=\"+Inf\"} 200
hunt_refused_total{reason=\"busy\"} 2
hunt_refused_total{reason=\"solved\"} 5
hunt_refused_total_of_others 7
";

    #[test]
    fn figures_are_read_and_compared() {
        let (before, after) = (Figures::read(BEFORE), Figures::read(AFTER));
        assert_eq!((before.sum("hunt_events_waiting"), after.sum("hunt_refused_total")), (3.0, 7.0));
        assert_eq!(after.p99_since(&before, "hunt_append_seconds"), 0.1);
        assert_eq!(after.p99_since(&Figures::default(), "hunt_append_seconds"), 0.01);
        // Nothing came, and what is above every bound.
        assert_eq!(before.p99_since(&before, "hunt_append_seconds"), 0.0);
        let slow = Figures::read("x_bucket{le=\"1\"} 0\nx_bucket{le=\"+Inf\"} 9\n");
        assert_eq!(slow.p99_since(&Figures::default(), "x"), 1.0);
    }
}
