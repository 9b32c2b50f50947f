//! Opens what money is kept in: the ledger on this machine, and the bank that other replicas share. And what answers are kept in.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::config::{LedgerSettings, Settings, Store};
use crate::store::answers::{Answers, Away, File, Once, Shelf};
use crate::store::bank;
use crate::store::ledger::{Durability, Ledger, LedgerOptions};
use crate::store::postgres;
use crate::telemetry::Metrics;
use crate::treasury::{Heirs, Treasury};
use crate::units::Clock;

/// Where answers are kept.
pub(super) struct Kept {
    pub(super) answers: Arc<Answers>,
    pub(super) once: Arc<Once>,
    redis: Option<Arc<Shelf>>,
}

impl Kept {
    /// Opens what answers are kept in. Without a file that can be written to, named requests are made once as long as they are
    /// under way, and nothing is kept of them.
    pub(super) async fn open(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let (keep, clock) = (settings.idempotency, Arc::clone(clock));
        if let Store::Redis(url) = &settings.store {
            let redis = Arc::new(Shelf::new(url.expose_secret())?);
            return Ok(Self {
                answers: Arc::new(Answers::shared(Arc::clone(&redis), Arc::clone(&clock))),
                once: Arc::new(Once::on_shelf(Arc::clone(&redis), keep, clock)),
                redis: Some(redis),
            });
        }
        let answers = Arc::default();
        if keep.is_zero() {
            return Ok(Self { answers, once: Arc::new(Once::forgetful(clock)), redis: None });
        }
        let (path, of_file) = (settings.state_dir.join("once.db"), Arc::clone(&clock));
        let opened = tokio::task::spawn_blocking(move || File::open(&path, of_file)).await;
        let once = match opened.map_err(std::io::Error::other).flatten() {
            Ok(file) => Once::in_file(file, keep, clock),
            Err(error) => {
                tracing::warn!(%error, "answers to requests with an Idempotency-Key cannot be kept here");
                Once::forgetful(clock)
            }
        };
        Ok(Self { answers, once: Arc::new(once), redis: None })
    }

    /// Keeps in touch with what is shared, until `stop`.
    pub(super) fn run(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (once, redis, of_redis) = (Arc::clone(&self.once), self.redis.clone(), stop.clone());
        async move {
            let sharing = async {
                if let Some(redis) = redis {
                    redis.run(of_redis).await;
                }
            };
            tokio::join!(once.run(stop), sharing);
        }
    }
}

/// Why money cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Ledger(#[from] crate::store::ledger::Error),
    #[error("store: {0}")]
    Bank(#[from] bank::Error),
    #[error("store: {0}")]
    Shelf(#[from] Away),
    #[error("{0}")]
    Postgres(#[from] postgres::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Opens the ledger, and goes on from what it has: alone, or with other replicas in a Redis.
pub(super) async fn treasury(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<Treasury>, Option<Heirs>), Error> {
    let LedgerSettings { path, synced, retention, postgres } = settings.ledger.clone();
    let durability = if synced { Durability::Power } else { Durability::Process };
    let shared = matches!(settings.store, Store::Redis(_));
    let options = LedgerOptions {
        durability,
        retention,
        charge_lost: !shared,
        sent_elsewhere: postgres.is_some(),
        clock: Arc::clone(clock),
        ..LedgerOptions::default()
    };
    let (ledger, recovered) = tokio::task::spawn_blocking(move || Ledger::open(&path, options))
        .await
        .map_err(std::io::Error::other)??;
    for (record, _) in &recovered.lost {
        tracing::warn!(
            request = %record.id,
            team = &*record.team,
            amount_usd = %record.amount,
            "the gateway died before this request was settled: it is charged all that was held"
        );
    }
    let (metrics, clock) = (Arc::clone(metrics), Arc::clone(clock));
    if let Store::Redis(url) = &settings.store {
        let options = bank::Options {
            on_loss: settings.store_terms.on_loss,
            patience_max: settings.store_terms.patience,
            ..bank::Options::new(url.expose_secret(), ledger.replica())
        };
        let bank = bank::Bank::new(options, Arc::clone(&clock))?;
        let (treasury, heirs) = Treasury::shared(ledger, recovered, bank, metrics, clock).await?;
        return Ok((treasury, Some(heirs)));
    }
    Ok((Arc::new(Treasury::alone(ledger, metrics, clock).await?), None))
}

/// What sends the ledger's records to the fleet's database; `None` where the configuration names none.
pub(super) fn sender(
    settings: &Settings,
    treasury: &Treasury,
    clock: &Arc<dyn Clock>,
) -> Result<Option<postgres::Sender>, Error> {
    let Some(address) = &settings.ledger.postgres else { return Ok(None) };
    let address = postgres::Address::new(address.0.expose_secret())?;
    let sender = postgres::Sender::new(treasury.ledger().clone(), address, Arc::clone(clock));
    treasury.sends(sender.progress());
    Ok(Some(sender))
}
