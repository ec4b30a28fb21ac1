//! Figures: medians, and what the node says of its disk.

/// The median; the mean of the middle two for an even number; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    if values.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 }
}

/// How often a log was made durable, by how long it took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Syncs {
    /// How many.
    pub count: f64,
    /// Upper bounds in seconds, and how many took at most so long.
    buckets: Vec<(f64, f64)>,
}

impl Syncs {
    /// Reads `banyan_log_syncs_total` and `banyan_log_sync_seconds_bucket` from a page of metrics.
    pub fn read(metrics: &str) -> Self {
        let mut syncs = Self::default();
        for line in metrics.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if name.starts_with("banyan_log_syncs_total") {
                syncs.count += value;
            } else if let Some(labels) = name.strip_prefix("banyan_log_sync_seconds_bucket") {
                let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
                let bound = bound.and_then(|(bound, _)| bound.parse::<f64>().ok());
                syncs.buckets.extend(bound.map(|bound| (bound, value)));
            }
        }
        syncs.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        syncs
    }

    /// What several logs did, which have the same buckets.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.reduce(|sum, one| {
            let both = sum.buckets.iter().zip(&one.buckets);
            let buckets = both.map(|((bound, a), (_, b))| (*bound, a + b)).collect();
            Self { count: sum.count + one.count, buckets }
        })
        .unwrap_or_default()
    }

    /// What happened since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| before.buckets.iter().find(|(b, _)| *b == bound).map_or(0.0, |(_, n)| *n);
        let buckets = self.buckets.iter().map(|(bound, n)| (*bound, n - earlier(*bound))).collect();
        Self { count: self.count - before.count, buckets }
    }

    /// The time that a share of them took at most, in milliseconds, interpolated within its bucket.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let total = self.buckets.last().map_or(0.0, |(_, n)| *n);
        let wanted = share * total;
        let (mut below, mut bound_below) = (0.0, 0.0);
        for (bound, n) in &self.buckets {
            if *n >= wanted && *n > below {
                let within = (wanted - below) / (n - below);
                let upper = if bound.is_finite() { *bound } else { bound_below };
                return 1_000.0 * (bound_below + within * (upper - bound_below));
            }
            (below, bound_below) = (*n, *bound);
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn quantiles_come_from_the_buckets_since_the_start() {
        let page = |count: u32, a: u32, b: u32| {
            format!(
                "# HELP x\nbanyan_log_syncs_total {count}\nbanyan_log_sync_seconds_bucket{{le=\"0.001\"}} {a}\n\
                 banyan_log_sync_seconds_bucket{{le=\"0.002\"}} {b}\nbanyan_log_sync_seconds_bucket{{le=\"+Inf\"}} {b}\n"
            )
        };
        let run = Syncs::read(&page(30, 20, 30)).since(&Syncs::read(&page(10, 10, 10)));
        assert_eq!(run.count, 20.0);
        assert!((run.quantile_ms(0.5) - 1.0).abs() < 1e-9, "{}", run.quantile_ms(0.5));
        assert!((run.quantile_ms(0.75) - 1.5).abs() < 1e-9, "{}", run.quantile_ms(0.75));
    }
}
