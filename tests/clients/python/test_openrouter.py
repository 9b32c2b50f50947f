"""OpenRouter's own package against a gateway, unmodified: its fields steer the gateway's routing."""

import openrouter
import pytest
from openrouter.errors import OpenRouterError

from suite import BASE_URL, DIRECT, TOOL, TOOLS_MODEL, say

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")


@pytest.fixture
def client():
    with openrouter.OpenRouter(api_key="unused", server_url=BASE_URL, timeout_ms=60_000, retry_config=None) as client:
        yield client


def test_chat(client):
    answer = client.chat.send(model=TOOLS_MODEL, messages=say("Say hello, tok-1."))
    assert answer.choices[0].message.content.startswith("tok-1")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    if not DIRECT:
        assert answer.usage.cost > 0


def test_streamed_chat_with_usage(client):
    options = {"include_usage": True}
    with client.chat.send(
        model=TOOLS_MODEL, messages=say("Say hello, tok-2."), stream=True, stream_options=options
    ) as chunks:
        chunks = list(chunks)
    spoken = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert spoken.startswith("tok-2")
    assert [chunk.usage.completion_tokens > 0 for chunk in chunks if chunk.usage] == [True]


def test_tools(client):
    answer = client.chat.send(model=TOOLS_MODEL, messages=say("How high is it, tok-3?"), tools=[TOOL])
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == TOOL["function"]["name"]


@gateway_only
def test_routing_fields_steer(client):
    def ask(**wishes):
        return client.chat.send(messages=say("Say hello, tok-4."), **wishes)

    for wishes in (
        {"model": f"{TOOLS_MODEL}:floor"},
        {"model": f"{TOOLS_MODEL}:nitro"},
        {"model": "nobody/has-it", "models": [TOOLS_MODEL]},
        {"model": TOOLS_MODEL, "provider": {"order": ["fake"], "allow_fallbacks": False}, "session_id": "one"},
        {"model": TOOLS_MODEL, "provider": {"only": ["FAKE"], "max_price": {"prompt": "0.14", "completion": "0.28"}}},
        {"model": TOOLS_MODEL, "provider": {"sort": "price", "preferred_max_latency": 60}},
    ):
        assert ask(**wishes).choices[0].message.content.startswith("tok-4"), wishes
    for provider in ({"ignore": ["fake"]}, {"max_price": {"prompt": "0.13"}}, {"zdr": True}):
        with pytest.raises(OpenRouterError) as raised:
            ask(model=TOOLS_MODEL, provider=provider)
        assert raised.value.status_code == 404
        assert "No route is left" in str(raised.value.body)


@gateway_only
def test_models(client):
    models = {model.id: model for model in client.models.list().result.data}
    model = models[TOOLS_MODEL]
    assert (model.pricing.prompt, model.pricing.completion) == ("0.00000014", "0.00000028")
    assert model.pricing.input_cache_read == "0.000000028"
    assert model.context_length == 131072
    assert "tools" in model.supported_parameters
