//! What an operator sets once, with its defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use secrecy::SecretString;

use crate::config::document::TollwayDocument;
use crate::config::document::gateway::{AuthWord, LocalEngineDocument, LogFormatWord};
use crate::config::document::values::{self, Count, FilePath, Secret};
use crate::config::load::Documents;
use crate::config::node::Spot;
use crate::config::read::{At, Reader};
use crate::config::record::not_among;
use crate::config::snapshot::{Admin, Auth, Limits, LocalEngine, Log, LogFormat, Settings, Tls};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// A year and a month: last year's bill can be compared with this year's.
pub(super) const RETENTION: Duration = Duration::from_hours(400 * 24);
/// As long as clients are used to.
const IDEMPOTENCY: Duration = Duration::from_hours(24);
/// Each is a thread with descriptors of its own.
const WORKERS_MAX: u64 = 1024;
const PROFILES: [&str; 7] = ["auto", "embedded", "off", "h200-vllm", "h200-sglang", "ascend-vllm", "none"];

pub(super) fn compile(
    reader: &Reader<'_>,
    document: &TollwayDocument,
    documents: &Documents,
    has_keys: bool,
) -> Settings {
    let listen = listen(reader, document, documents);
    let auth = auth(reader, document, listen, has_keys);
    let cors = super::cors::compile(reader, document);
    if let (Some(typed), Auth::Open, true) =
        (&document.cors, auth, cors.as_ref().is_some_and(|cors| cors.any))
    {
        let message = "with `auth: open`, any page that a browser near here shows may spend your money";
        let help = "name the origins that you mean, or ask for keys".to_owned();
        reader.push(crate::config::Severity::Warning, Some(typed.spot), message, Some(help));
    }
    Settings {
        listen,
        workers: workers(reader, document),
        admin: admin(reader, document),
        tls: tls(reader, document, &documents.folder),
        auth,
        auth_by_default: document.auth.is_none(),
        store: super::store::compile(reader, document),
        store_terms: super::store::terms(reader, document),
        state_dir: state_dir(document, &documents.folder),
        ledger: super::ledger::compile(reader, document, &documents.folder),
        idempotency: document
            .idempotency
            .as_ref()
            .and_then(|typed| typed.keep.as_ref())
            .map_or(IDEMPOTENCY, |span| span.0),
        limits: limits(reader, document),
        cors,
        log: log(document),
        local_engine: local_engine(reader, document, &documents.folder),
    }
}

/// Where lasting things live.
pub(super) fn state_dir(document: &TollwayDocument, folder: &Path) -> PathBuf {
    in_folder(folder, document.state_dir.as_ref().map_or(Path::new("data"), |dir| &dir.0))
}

/// Days without peak windows.
pub(super) fn holidays(document: &TollwayDocument) -> Vec<Date> {
    document.holidays.iter().flat_map(|days| &days.value).map(|day| day.0).collect()
}

/// A secret from its key, or from the file that the second key names.
pub(super) fn secret(
    reader: &Reader<'_>,
    typed: Option<&At<Secret>>,
    file: Option<&At<FilePath>>,
) -> Option<Result<SecretString, String>> {
    if let (Some(_), Some(file)) = (typed, file) {
        reader.error(file.spot, "the same secret is given twice: keep one of the two keys", None);
    }
    if let Some(typed) = typed {
        return Some(typed.0.clone());
    }
    let file = file?;
    if file.0.components().any(|part| part == std::path::Component::ParentDir) {
        let help = "name the file from the configuration's folder downwards, or from the root".to_owned();
        reader.error(file.spot, "a secret's file may not go up with `..`", Some(help));
        return None;
    }
    match reader.environment.secret_file(&file.0) {
        Ok(secret) => Some(Ok(secret)),
        Err(error) => {
            reader.error(file.spot, &format!("the file {} {error}", file.0.display()), None);
            None
        }
    }
}

fn listen(reader: &Reader<'_>, document: &TollwayDocument, documents: &Documents) -> SocketAddr {
    if let Some(typed) = &documents.listen {
        return values::listen(typed).unwrap_or_else(|wanted| {
            let message = format!("--listen must be {wanted}, not `{typed}`");
            reader.push(crate::config::Severity::Error, None, &message, None);
            LISTEN
        });
    }
    document.listen.as_ref().map_or(LISTEN, |listen| listen.0)
}

fn workers(reader: &Reader<'_>, document: &TollwayDocument) -> Option<NonZero<usize>> {
    let typed = document.workers.as_ref()?;
    if typed.0 > WORKERS_MAX {
        reader.error(typed.spot, &format!("`workers` must be at most {WORKERS_MAX}"), None);
    }
    NonZero::new(small(typed) as usize)
}

fn admin(reader: &Reader<'_>, document: &TollwayDocument) -> Admin {
    let typed = document.admin.as_ref();
    let listen = typed.and_then(|admin| admin.listen.as_ref());
    let address = listen.map_or(ADMIN_LISTEN, |listen| listen.0);
    let token = typed.and_then(|admin| secret(reader, admin.token.as_ref(), admin.token_file.as_ref()));
    let token = match (token, typed.and_then(|admin| admin.token.as_ref())) {
        (Some(Err(variable)), Some(typed)) => {
            let message = format!("`token` needs the variable {variable}, which is unset or empty");
            reader.error(typed.spot, &message, Some(format!("set {variable}")));
            None
        }
        (token, _) => token.and_then(Result::ok),
    };
    if let (false, None, Some(listen)) = (address.ip().is_loopback(), &token, listen) {
        let help = "set `admin.token` or `admin.token_file`, or listen on 127.0.0.1".to_owned();
        reader.error(listen.spot, "the admin listener is reachable by others and has no token", Some(help));
    }
    Admin { listen: address, token }
}

fn tls(reader: &Reader<'_>, document: &TollwayDocument, folder: &Path) -> Option<Tls> {
    let typed = document.tls.as_ref()?;
    let (Some(cert), Some(key)) = (&typed.cert, &typed.key) else {
        reader.missing(typed.spot, &["cert", "key"], "`tls` needs both `cert` and `key`", None);
        return None;
    };
    Some(Tls { cert: in_folder(folder, &cert.0), key: in_folder(folder, &key.0) })
}

fn auth(reader: &Reader<'_>, document: &TollwayDocument, listen: SocketAddr, has_keys: bool) -> Auth {
    let forced = document.auth_open_forced.as_ref().is_some_and(|forced| forced.0);
    let loopback = listen.ip().is_loopback();
    match document.auth.as_ref().map(|auth| (auth.value, auth.spot)) {
        Some((AuthWord::Required, spot)) => {
            nobody_may_call(reader, Some(spot), has_keys);
            Auth::Required
        }
        Some((AuthWord::Open, spot)) => {
            if !loopback && !forced {
                let help = "listen on 127.0.0.1, ask for keys, or set `auth_open_forced: true`".to_owned();
                reader.error(
                    spot,
                    &format!("`auth: open` on {listen} lets anybody spend your money"),
                    Some(help),
                );
            }
            Auth::Open
        }
        None if loopback && !has_keys => Auth::Open,
        None => {
            nobody_may_call(reader, document.listen.as_ref().map(|listen| listen.spot), has_keys);
            Auth::Required
        }
    }
}

fn nobody_may_call(reader: &Reader<'_>, spot: Option<Spot>, has_keys: bool) {
    if !has_keys {
        let help =
            "make one with `tollway keys create`, list some under `keys`, or set `auth: open` where only trusted callers can connect"
                .to_owned();
        let message = "callers need a key, and the configuration has none: only keys that `tollway keys create` made are let in";
        reader.push(crate::config::Severity::Warning, spot, message, Some(help));
    }
}

fn limits(reader: &Reader<'_>, document: &TollwayDocument) -> Limits {
    let typed = document.limits.as_ref();
    let depth = typed.and_then(|limits| limits.json_depth_max.as_ref());
    if let Some(depth) = depth.filter(|depth| depth.0 > crate::api::scan::DEPTH_LIMIT as u64) {
        reader.error(
            depth.spot,
            &format!("`json_depth_max` must be at most {}", crate::api::scan::DEPTH_LIMIT),
            None,
        );
    }
    let size =
        |pick: fn(&crate::config::document::gateway::LimitsDocument) -> Option<&At<values::Size>>,
         default: u64| { typed.and_then(|limits| pick(limits)).map_or(default, |size| size.0) };
    let span = |pick: fn(&crate::config::document::gateway::LimitsDocument) -> Option<&At<values::Span>>,
                default: u64| {
        typed.and_then(|limits| pick(limits)).map_or(Duration::from_secs(default), |span| span.0)
    };
    Limits {
        body_bytes_max: size(|limits| limits.body_bytes_max.as_ref(), 32 << 20),
        compressed_bodies: typed
            .and_then(|limits| limits.compressed_bodies.as_ref())
            .is_some_and(|flag| flag.0),
        header_bytes_max: size(|limits| limits.header_bytes_max.as_ref(), 64 << 10),
        json_depth_max: depth.map_or(128, small),
        in_flight_max: typed.and_then(|limits| limits.in_flight_max.as_ref()).map_or(10_000, small),
        request_timeout: span(|limits| limits.request_timeout.as_ref(), 600),
        drain: span(|limits| limits.drain.as_ref(), 30),
        stall_timeout: span(|limits| limits.stall_timeout.as_ref(), 300),
        send_buffer_bytes: size(|limits| limits.send_buffer_bytes.as_ref(), 128 << 10),
    }
}

fn log(document: &TollwayDocument) -> Log {
    let typed = document.log.as_ref();
    let format = typed.and_then(|log| log.format.as_ref()).map_or(LogFormatWord::Auto, |format| format.value);
    Log {
        level: typed
            .and_then(|log| log.level.as_ref())
            .map_or_else(|| "info".into(), |level| Arc::clone(&level.0)),
        format: match format {
            LogFormatWord::Auto => LogFormat::Auto,
            LogFormatWord::Json => LogFormat::Json,
            LogFormatWord::Text => LogFormat::Text,
        },
    }
}

fn local_engine(reader: &Reader<'_>, document: &TollwayDocument, folder: &Path) -> LocalEngine {
    let nothing = LocalEngineDocument::default();
    let typed = document.local_engine.as_ref().map_or(&nothing, |typed| &typed.value);
    let profile: Arc<str> =
        typed.profile.as_ref().map_or_else(|| "auto".into(), |profile| Arc::clone(&profile.0));
    if let Some(stated) = &typed.profile {
        let is_file = profile.ends_with(".yaml") || profile.ends_with(".yml");
        if !PROFILES.contains(&&*profile) && !is_file {
            not_among(reader, stated.spot, &profile, &PROFILES);
        } else if !matches!(&*profile, "auto" | "embedded" | "off" | "none") {
            super::not_yet(
                reader,
                stated.spot,
                &format!("the profile `{profile}`"),
                "the embedded engine serves the small model",
            );
        }
    }
    let count = |count: Option<&At<Count>>| count.map(small);
    LocalEngine {
        profile: if &*profile == "none" { "off".into() } else { profile },
        model_file: typed.model_file.as_ref().map(|file| in_folder(folder, &file.0)),
        threads: count(typed.threads.as_ref()),
        parallel: count(typed.parallel.as_ref()),
        queue: count(typed.queue.as_ref()),
        usd_per_hour: typed
            .cost
            .as_ref()
            .and_then(|cost| cost.usd_per_hour.as_ref())
            .map(|usd| Arc::clone(&usd.0)),
    }
}

fn small(count: &At<Count>) -> u32 {
    u32::try_from(count.0).unwrap_or(u32::MAX)
}

pub(super) fn in_folder(folder: &Path, path: &Path) -> PathBuf {
    if folder == Path::new(".") { path.to_owned() } else { folder.join(path) }
}
