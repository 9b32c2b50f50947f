//! Asks a provider afterwards what it charged for an answer whose usage never came. Only OpenRouter can be asked.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};

use crate::api::splice::Pieces;
use crate::providers::{Kind, openrouter};
use crate::units::PicoUsd;

use super::attempt::Target;
use super::client::RequestBody;
use super::fallback::Upstreams;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// Why it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The provider does not know the answer, or not yet.
    Missing,
    /// It could not be asked, or said nothing that makes sense.
    Failed,
    /// It is not one that can be asked.
    Never,
}

impl Upstreams {
    /// Whether the provider at this place can be asked what it charged.
    pub fn can_look_up(&self, provider: usize) -> bool {
        self.targets
            .get(provider)
            .and_then(Option::as_ref)
            .is_some_and(|target| target.kind == Kind::OpenRouter)
    }

    /// What the provider at this place charged for the answer that it calls `generation`.
    pub async fn look_up(&self, provider: usize, generation: &str) -> Result<PicoUsd, Unknown> {
        let target = self.targets.get(provider).and_then(Option::as_ref).ok_or(Unknown::Never)?;
        let request = request(target, generation).ok_or(Unknown::Never)?;
        let asked = async {
            let response = self.client.request(request).await.map_err(|_| Unknown::Failed)?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Err(Unknown::Missing),
                _ => return Err(Unknown::Failed),
            }
            let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
            let body: Bytes = body.map_err(|_| Unknown::Failed)?.to_bytes();
            openrouter::charged(&body).ok_or(Unknown::Failed)
        };
        tokio::time::timeout(PATIENCE, Box::pin(asked)).await.map_err(|_| Unknown::Failed)?
    }
}

/// The question; `None` for whom it cannot be put to, or a name that no address may hold.
fn request(target: &Target, generation: &str) -> Option<Request<RequestBody>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if target.kind != Kind::OpenRouter || generation.is_empty() || !generation.bytes().all(plain) {
        return None;
    }
    let uri: Uri = format!("{}/generation?id={generation}", target.base()).parse().ok()?;
    let mut request = Request::new(RequestBody::new(Pieces::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.headers_mut() = target.headers().clone();
    request.headers_mut().remove(http::header::CONTENT_TYPE);
    Some(request)
}
