//! From hyper's call to the service's answer: the stand-in for a refused request is told apart here.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::{Service as HyperService, service_fn};

use super::{ConnInfo, Protocol, Service, Shared};
use crate::gateway::framing::{ConnectionState, InFlight, Refusal, RequestBody, Taking, refusal_of};

/// What hyper calls for each HTTP/1 request of a connection.
pub(super) fn http1<S, R>(
    shared: Arc<Shared<S, R>>,
    from: ConnInfo,
    state: Arc<ConnectionState>,
) -> impl HyperService<
    Request<Incoming>,
    Response = Response<AnswerBody<S::Body>>,
    Error = Infallible,
    Future: Send,
> + Send
where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    let requests = Cell::new(0_u64);
    service_fn(move |request| {
        let nth = requests.get() + 1;
        requests.set(nth);
        answer(&shared, from, state.open(), Some(nth), state.refusal(nth), request)
    })
}

/// What hyper calls for each HTTP/2 request of a connection.
pub(super) fn http2<S, R>(
    shared: Arc<Shared<S, R>>,
    from: ConnInfo,
    state: Arc<ConnectionState>,
) -> impl HyperService<
    Request<Incoming>,
    Response = Response<AnswerBody<S::Body>>,
    Error = Infallible,
    Future: Send + 'static,
> + Send
where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    service_fn(move |request| {
        let refusal = refusal_of(&request, &shared.settings.head);
        answer(&shared, from, state.open(), None, refusal, request)
    })
}

/// `nth` is the request's number on an HTTP/1 connection.
fn answer<S, R>(
    shared: &Shared<S, R>,
    from: ConnInfo,
    in_flight: InFlight,
    nth: Option<u64>,
    refusal: Option<Refusal>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody<S::Body>>, Infallible>> + Send + 'static + use<S, R>
where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    let answer = if let Some(refusal) = refusal {
        Err((shared.refuse)(refusal))
    } else {
        let pace = shared.settings.body_pace;
        Ok(shared.service.answer(request.map(|body| RequestBody::new(body, pace)), from))
    };
    // Boxed, because hyper keeps the room for it as long as the connection lives, and a stream may stand idle for minutes.
    Box::pin(async move {
        let mut response = match answer {
            Ok(answer) => answer.await,
            Err(refused) => refused,
        };
        if nth.is_some_and(|nth| in_flight.connection().is_last(nth)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let taking = (from.protocol == Protocol::Http2).then(|| in_flight.taking());
        Ok(response.map(|inner| AnswerBody { inner, in_flight, taking }))
    })
}

pin_project_lite::pin_project! {
    /// The service's body; its request counts as open until this is dropped.
    #[derive(Debug)]
    pub struct AnswerBody<B> {
        #[pin]
        inner: B,
        in_flight: InFlight,
        // HTTP/2 only.
        taking: Option<Taking>,
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        // hyper would go on to fill its buffer, which is as large as the largest head. It has unsent bytes whenever this
        // is so, and polls again once the socket has taken them.
        let Some(taking) = this.taking else {
            if this.in_flight.connection().is_write_blocked() {
                return Poll::Pending;
            }
            return this.inner.poll_frame(cx);
        };
        taking.wants();
        let frame = this.inner.poll_frame(cx);
        if frame.is_ready() {
            taking.waits();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
