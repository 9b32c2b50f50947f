//! What a provider says afterwards that an attempt cost.

use crate::ledger::{RequestRecord, adjust, adjustment};
use crate::store::ledger;
use crate::units::NanoUsd;

use super::{Bank, Treasury, locked};

impl Treasury {
    /// Books what was charged for the attempt number `n` of `record` beyond its estimate, or less than it; once, whatever is asked.
    /// The difference; `None` where it was booked before.
    ///
    /// The budgets that the request counted for follow where this process alone keeps them. What several replicas share stays as it
    /// was charged: a balance in Redis is never taken back.
    pub async fn adjust(
        &self,
        record: &RequestRecord,
        n: usize,
        charged: NanoUsd,
    ) -> Result<Option<NanoUsd>, ledger::Error> {
        let known = self.ledger.lines_of(adjust::name(record.hold, n), record.began).await?;
        let (None, Some(adjusted)) = (known, adjustment(record, n, charged)) else { return Ok(None) };
        let lines = match &self.bank {
            Bank::Own(_) => self.ledger.lines_of(record.hold, record.began).await?.unwrap_or_default(),
            Bank::Shared(_) => Vec::new(),
        };
        let difference = adjusted.amount;
        self.ledger.settle(adjusted, lines.clone()).await?;
        if let Bank::Own(book) = &self.bank {
            let mut book = locked(book);
            for line in &lines {
                book.load(&line.budget, &line.scope, line.window, difference);
            }
        }
        Ok(Some(difference))
    }
}
