"""Fireworks' own package against a gateway, unmodified."""

import json

import alone  # noqa: F401  (before what it guards)
import fireworks
import pytest

from suite import BASE_URL, DIRECT, SCHEMA, TOOL, TOOLS_MODEL, say

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")


@pytest.fixture
def client():
    # The package adds /v1 itself.
    base = BASE_URL.removesuffix("/v1")
    with fireworks.Fireworks(base_url=base, api_key="unused", timeout=60, max_retries=0) as client:
        yield client


def test_chat(client):
    answer = client.chat.completions.create(model=TOOLS_MODEL, messages=say("Say hello, tok-1."))
    assert answer.choices[0].message.content.startswith("tok-1")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_chat(client):
    chunks = list(client.chat.completions.create(model=TOOLS_MODEL, messages=say("Say hello, tok-2."), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith("tok-2")
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")


def test_tools(client):
    answer = client.chat.completions.create(model=TOOLS_MODEL, messages=say("How high is it, tok-3?"), tools=[TOOL])
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == TOOL["function"]["name"]
    assert json.loads(call.function.arguments) == {"port": "Cádiz", "token": "tok-3"}


def test_json_schema(client):
    answer = client.chat.completions.create(
        model=TOOLS_MODEL, messages=say("A town, tok-4."), response_format=SCHEMA
    )
    assert json.loads(answer.choices[0].message.content) == {"name": "tok-4", "people": 7}


@gateway_only
def test_an_unknown_model_is_not_found(client):
    with pytest.raises(fireworks.NotFoundError) as raised:
        client.chat.completions.create(model="nobody/has-it", messages=say("x"))
    assert "does not exist here" in str(raised.value)
