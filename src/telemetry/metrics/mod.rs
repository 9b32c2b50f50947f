//! The metric families, typed. Names, labels and units are a contract with dashboards; label sets are resolved to handles once.
//!
//! Each file has the families of one subject, with the methods that count them.

mod budgets;
mod costs;
mod decisions;
mod hedges;
mod ledger;
#[allow(
    clippy::expect_used,
    reason = "names and labels are constants; `every_family_is_well_formed` makes them all"
)]
mod make;
mod process;
mod requests;
mod routes;

use prometheus::{Encoder, Registry, TextEncoder};

pub use budgets::BudgetLevel;
pub use requests::Series;

use budgets::BudgetFamilies;
use costs::CostFamilies;
use decisions::DecisionFamilies;
use hedges::HedgeFamilies;
use ledger::LedgerFamilies;
use process::ProcessFamilies;
use requests::RequestFamilies;
use routes::RouteFamilies;

/// Kinds of tokens, disjoint: their sum is what is billed.
pub const TOKEN_KINDS: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];
/// Kinds of cost; `request` is a fee per request, or the whole of a cost that the provider stated itself.
pub const COST_KINDS: [&str; 5] = ["input", "cache_read", "cache_write", "output", "request"];

/// Of waits for a first token, in seconds.
const TTFT_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// Every family of this gateway. Their fields are named as the families, without prefix and unit.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: RequestFamilies,
    costs: CostFamilies,
    budgets: BudgetFamilies,
    ledger: LedgerFamilies,
    routes: RouteFamilies,
    decisions: DecisionFamilies,
    hedges: HedgeFamilies,
    process: ProcessFamilies,
}

impl Metrics {
    /// All families, empty.
    pub fn new() -> Self {
        let registry = Registry::new();
        Self {
            requests: RequestFamilies::new(&registry),
            costs: CostFamilies::new(&registry),
            budgets: BudgetFamilies::new(&registry),
            ledger: LedgerFamilies::new(&registry),
            routes: RouteFamilies::new(&registry),
            decisions: DecisionFamilies::new(&registry),
            hedges: HedgeFamilies::new(&registry),
            process: ProcessFamilies::new(&registry),
            registry,
        }
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> String {
        let mut page = Vec::new();
        // Encoding into memory fails only for a family without metrics, which gather() leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut page);
        let mut page = String::from_utf8(page).unwrap_or_default();
        for family in [
            &self.costs.cost,
            &self.costs.cost_component,
            &self.costs.wasted,
            &self.costs.saved,
            &self.decisions.shadow_cost,
            &self.hedges.probe_cost,
            &self.ledger.adjusted,
        ] {
            family.render(&mut page);
        }
        self.budgets.render(&mut page);
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_well_formed() {
        let metrics = Metrics::new();
        metrics.series("p", "t", "a", "m").ok.inc();
        metrics.ended("p", "t", "a", "m", 503, "upstream_error");
        let page = metrics.page();
        assert!(page.contains("tollway_requests_total{code=\"503\""), "{page}");
        assert!(
            page.contains(
                "tollway_cost_usd_total{policy=\"p\",team=\"t\",provider=\"a\",model=\"m\"} 0.000000000"
            ),
            "{page}"
        );
    }
}
