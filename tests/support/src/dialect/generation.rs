//! What OpenRouter says afterwards of an answer: `GET /generation?id=…`. It is known a moment after the answer, and it tells what
//! was charged also where the answer's usage never reached anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Reply, price::decimal};

use super::ask::Ask;
use super::{Dialect, Kind, chunk};

/// What was charged, by the answer's name; and how often each was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Charges {
    known: Arc<Mutex<BTreeMap<String, (u64, u32)>>>,
    /// So often it is not known yet.
    late: u32,
}

impl Dialect {
    /// An answer is not known yet the first so many times that it is asked for.
    pub fn known_late(mut self, times: u32) -> Self {
        self.charges.late = times;
        self
    }

    /// What was charged for all answers so far, in pico-dollars.
    pub fn charged(&self) -> u64 {
        let known = self.charges.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|(pico, _)| pico).sum()
    }

    /// Notes what an answer costs. Whoever leaves in the middle pays for all of it, as with hosts that cannot be stopped.
    pub(super) fn charge(&self, ask: &Ask, index: usize) {
        let Some(price) = self.price.filter(|_| self.kind == Kind::OpenRouter) else { return };
        let pico = price.cost_pico(&self.usage_of(ask, &self.content(ask)));
        let mut known = self.charges.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(chunk::id(self.kind, index), (pico, 0));
    }

    pub(super) fn generation(&self, path: &str) -> Reply {
        let id = path.split_once("?id=").map_or("", |(_, id)| id);
        let mut known = self.charges.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get_mut(id).map(|(pico, asked)| {
            *asked += 1;
            (*pico, *asked)
        });
        match found {
            Some((pico, asked)) if asked > self.charges.late => {
                let cost = decimal(pico, 12);
                Reply::json(
                    200,
                    format!(
                        r#"{{"data":{{"id":"{id}","upstream_id":null,"total_cost":{cost},"usage":{cost},"cache_discount":null,"upstream_inference_cost":null,"created_at":"2026-11-26T03:00:00.000Z","provider_name":"Harbourlight","streamed":true,"cancelled":true,"latency":310,"generation_time":900,"finish_reason":null,"native_finish_reason":null,"is_byok":false}}}}"#
                    ),
                )
            }
            _ => Reply::json(
                404,
                format!(r#"{{"error":{{"code":404,"message":"Generation {id} not found"}}}}"#),
            ),
        }
    }
}
