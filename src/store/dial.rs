//! How a Redis is reached: one server, the primary that sentinels name, or a cluster.
//!
//! `redis://` and `rediss://` (TLS) name one server; `redis+cluster://host:port,host:port` some nodes of a cluster;
//! `redis+sentinel://host:port,host:port/name/db` sentinels and what they call the primary. With `rediss+…` all is TLS. User and
//! password before the hosts are those of every Redis, and of sentinels where they ask for any.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisFuture, TlsMode, Value,
};

/// Who is dialled.
#[derive(Clone)]
pub(super) enum Dial {
    One(Client),
    Sentinels { sentinels: Vec<ConnectionInfo>, name: String, node: SentinelNodeConnectionInfo },
    Cluster(Vec<ConnectionInfo>),
}

/// A connection on which many may ask at once.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Dial {
    /// Reads an address of the forms above. What is said of a bad one holds none of it: a password may stand there.
    pub(super) fn new(url: &str) -> Result<Self, RedisError> {
        let bad = |why| RedisError::from((ErrorKind::InvalidClientConfig, why));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("no address of Redis"))?;
        let Some((tls, kind)) = scheme.split_once('+') else { return Ok(Self::One(Client::open(url)?)) };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        if !matches!(tls, "redis" | "rediss") {
            return Err(bad("neither `redis` nor `rediss`"));
        }
        let each = |user: &str, port: u16, db: &str| {
            let nodes = hosts.split(',').map(|host| {
                let port = if has_port(host) { String::new() } else { format!(":{port}") };
                format!("{tls}://{user}{host}{port}/{db}").into_connection_info()
            });
            nodes.collect::<Result<Vec<_>, _>>()
        };
        match kind {
            "cluster" => Ok(Self::Cluster(each(&user, 6379, "")?)),
            "sentinel" => {
                let (name, db) = path.split_once('/').unwrap_or((path, "0"));
                if name.is_empty() {
                    return Err(bad("no name of a primary after the sentinels"));
                }
                let node = each(&user, 6379, db)?;
                let node = node.first().ok_or_else(|| bad("no sentinel"))?.redis_settings().clone();
                let mut info = SentinelNodeConnectionInfo::default().set_redis_connection_info(node);
                if tls == "rediss" {
                    info = info.set_tls_mode(TlsMode::Secure);
                }
                Ok(Self::Sentinels { sentinels: each(&user, 26379, "")?, name: name.to_owned(), node: info })
            }
            _ => Err(bad("neither `cluster` nor `sentinel`")),
        }
    }

    /// A connection, in `limit` at most. Dropping the future leaves none.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Wire, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(None);
        match self {
            Self::One(client) => {
                Ok(Wire::One(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Self::Sentinels { sentinels, name, node } => {
                // Asked anew each time: after a failover they name another.
                let mut sentinel = Sentinel::build(sentinels.clone())?;
                let client = sentinel.async_master_for(name, Some(node)).await?;
                Ok(Wire::One(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Self::Cluster(nodes) => {
                let client = ClusterClient::builder(nodes.clone())
                    .connection_timeout(limit)
                    // Whoever asks waits for no second try.
                    .retries(1)
                    .build()?;
                Ok(Wire::Cluster(client.get_async_connection().await?))
            }
        }
    }
}

/// Whether a host has its port with it: the last colon is behind the bracket of an IPv6 address.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(wire) => wire.req_packed_command(cmd),
            Self::Cluster(wire) => wire.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(wire) => wire.req_packed_commands(pipeline, offset, count),
            Self::Cluster(wire) => wire.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(wire) => wire.get_db(),
            Self::Cluster(wire) => wire.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_address_is_read() {
        let cluster = Dial::new("rediss+cluster://u:p%40w@a,b:7001,[::1]:7002");
        let Ok(Dial::Cluster(nodes)) = cluster else { panic!() };
        let addresses: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
        assert_eq!(addresses, ["a:6379", "b:7001", "::1:7002"]);
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("p@w")));
        let sentinels = Dial::new("redis+sentinel://a,b:26380/main/3");
        let Ok(Dial::Sentinels { sentinels, name, .. }) = sentinels else { panic!() };
        let addresses: Vec<_> = sentinels.iter().map(|node| node.addr().to_string()).collect();
        assert_eq!((addresses, &*name), (vec!["a:26379".to_owned(), "b:26380".to_owned()], "main"));
        assert!(matches!(Dial::new("redis://a:1/0"), Ok(Dial::One(_))));
        for bad in ["a", "redis+sentinel://a", "redis+other://a", "http+cluster://a", "redis+cluster://"] {
            assert!(Dial::new(bad).is_err(), "{bad}");
        }
    }
}
