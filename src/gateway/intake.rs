//! A request's body and the few headers that steer: taken in under limits, refused before they are read whole.

mod unpack;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use smallvec::SmallVec;

use crate::api::body::{TAGS_MAX, is_tag_text};
use crate::config::Limits;

use super::failure::Failure;
use super::framing::{BodyError, RequestBody};
use unpack::Unpacker;

/// Tags as policies see them.
pub type Tags = SmallVec<[(Box<str>, Box<str>); 4]>;

/// The body, if it is JSON, within its bounds, and compressed only where `limits` let it be.
pub async fn body(headers: &HeaderMap, body: RequestBody, limits: Limits) -> Result<Bytes, Failure> {
    let packed = check_type(headers, limits.compressed_bodies)?;
    match packed {
        None => plain(body, limits.body_bytes_max).await,
        Some(coding) => {
            let unpacker = Unpacker::new(coding, limits.body_bytes_max).ok_or(Failure::UnknownCoding)?;
            // Boxed: few requests need the room.
            Box::pin(unpacked(body, unpacker, limits.body_bytes_max)).await
        }
    }
}

async fn unpacked(mut body: RequestBody, mut unpacker: Unpacker, bytes_max: u64) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > bytes_max {
        return Err(Failure::BodyTooLarge { bytes_max });
    }
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(unread)?.into_data() else { continue };
        unpacker.take(&bytes)?;
    }
    unpacker.finish()
}

async fn plain(mut body: RequestBody, bytes_max: u64) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > bytes_max {
        return Err(Failure::BodyTooLarge { bytes_max });
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut total = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(unread)?.into_data() else { continue };
        total += bytes.len() as u64;
        if total > bytes_max {
            return Err(Failure::BodyTooLarge { bytes_max });
        }
        if first.is_empty() && rest.is_empty() {
            // A body that came in one piece is not copied.
            first = bytes;
            continue;
        }
        if rest.is_empty() {
            let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
            rest.reserve(first.len() + bytes.len() + expected);
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&bytes);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn unread(error: BodyError) -> Failure {
    match error {
        BodyError::TooSlow => Failure::BodyTooSlow,
        BodyError::Fault(_) | BodyError::Left(_) => Failure::BodyFault(error.to_string()),
    }
}

/// The coding that a body of these headers is compressed with, if it is and may be.
fn check_type(headers: &HeaderMap, may_be_packed: bool) -> Result<Option<&[u8]>, Failure> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = codings.next().map(HeaderValue::as_bytes);
    let coding = coding.filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if coding.is_some() && !may_be_packed {
        return Err(Failure::CompressedBody);
    }
    if codings.next().is_some() {
        return Err(Failure::UnknownCoding);
    }
    // A body without a type is taken for what this API speaks.
    let Some(stated) = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) else {
        return Ok(coding);
    };
    let essence = stated.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let is_json = essence.eq_ignore_ascii_case(b"application/json")
        || (essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json"));
    if is_json { Ok(coding) } else { Err(Failure::ContentType) }
}

/// Tags from `x-tollway-tags: tier=interactive,feature=search`.
pub fn tags(headers: &HeaderMap) -> Result<Tags, Failure> {
    let mut tags = Tags::new();
    for value in headers.get_all("x-tollway-tags") {
        let text = value.to_str().map_err(|_| Failure::TagsHeader)?;
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(Failure::TagsHeader)?;
            let (name, value) = (name.trim(), value.trim());
            if !is_tag_text(name) || !is_tag_text(value) || tags.len() == TAGS_MAX {
                return Err(Failure::TagsHeader);
            }
            tags.push((name.into(), value.into()));
        }
    }
    Ok(tags)
}

/// The client's own patience, as the official SDKs state it in seconds. A word (`NOT_GIVEN` was seen) is none.
pub fn patience(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let stated = seconds("x-stainless-read-timeout").or_else(|| seconds("x-stainless-timeout"))?;
    (stated > 0.0 && stated < 86_400.0).then(|| Duration::from_secs_f64(stated))
}

/// Whether the client is trying again by itself.
pub fn is_client_retry(headers: &HeaderMap) -> bool {
    headers.get("x-stainless-retry-count").is_some_and(|count| count.as_bytes() != b"0")
}
