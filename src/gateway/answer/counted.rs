//! `POST /v1/messages/count_tokens`: how long a prompt is, by the estimate that routing and budgets rest on. Nobody upstream
//! is asked.

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::api::body::Call;
use crate::api::messages::{self, Purpose};
use crate::gateway::auth::Caller;
use crate::gateway::failure::Failure;
use crate::gateway::framing::RequestBody;
use crate::gateway::intake;
use crate::gateway::live::Live;
use crate::gateway::steering::{self, Steering};
use crate::relay::RelayBody;
use crate::routing::{Endpoint, RequestFacts};

use super::decided::tokens_estimated;
use super::{Way, json, unknown_model};

impl Way {
    pub(super) async fn count_tokens(
        &mut self,
        live: &Live,
        caller: &Caller<'_>,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<Response<RelayBody>, Failure> {
        let _in_flight = self.gateway.enter().ok_or(Failure::Busy)?;
        let limits = live.snapshot.settings.limits;
        let body = intake::body(headers, body, limits).await?;
        let depth_max = usize::try_from(limits.json_depth_max).unwrap_or(usize::MAX);
        let (chat, face) = messages::translate(&body, depth_max, Purpose::Count)?;
        let mut call = Call::parse(Endpoint::Chat, chat, depth_max)?;
        call.wear(Some(Box::new(face.into())));
        self.seen.model = call.model.clone();
        self.seen.endpoint = "count_tokens";
        steering::complete(&live.snapshot, &mut call);
        let steering = Steering::by(&live.snapshot, &call, &RequestFacts::default())
            .ok_or_else(|| unknown_model(live, &call.model))?;
        let tokens = tokens_estimated(live, caller, &call, &steering.eligible);
        Ok(json(Bytes::from(format!("{{\"input_tokens\":{tokens}}}"))))
    }
}
