"""The official openai package against a gateway, unmodified: only the base URL is ours."""

import json

import openai
import pytest

from suite import (
    BASE_URL,
    CHAT_MODEL,
    DIRECT,
    EMBEDDINGS_MODEL,
    KEY,
    KEYED_BASE_URL,
    SCHEMA,
    SLASH_MODEL,
    TOOL,
    TOOLS_MODEL,
    say,
)

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")


@pytest.fixture
def client():
    with openai.OpenAI(base_url=BASE_URL, api_key="unused", timeout=60, max_retries=0) as client:
        yield client


def test_chat(client):
    answer = client.chat.completions.create(model=CHAT_MODEL, messages=say("Say hello, tok-1."), max_tokens=16)
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    if not DIRECT:
        assert answer.usage.cost >= 0


def test_streamed_chat_with_usage(client):
    chunks = list(
        client.chat.completions.create(
            model=CHAT_MODEL,
            messages=say("Say hello, tok-2."),
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *spoken, last = chunks
    assert last.choices == []
    assert last.usage.completion_tokens > 0
    if not DIRECT:
        assert last.usage.cost >= 0
    assert all(chunk.usage is None for chunk in spoken), "usage comes once, at the end"
    assert all(chunk.choices for chunk in spoken), "only the usage chunk has no choices"
    assert all(chunk.id and chunk.model for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken)
    finishes = [chunk.choices[0].finish_reason for chunk in spoken if chunk.choices[0].finish_reason]
    assert len(finishes) == 1 and finishes[0] in ("stop", "length")


def test_streamed_chat_without_usage(client):
    chunks = list(
        client.chat.completions.create(
            model=TOOLS_MODEL, messages=say("Say hello, tok-3."), max_tokens=8, stream=True
        )
    )
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks), "nobody asked"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("tok-3")


def test_tool_call(client):
    answer = client.chat.completions.create(model=TOOLS_MODEL, messages=say("Tide? tok-4"), tools=[TOOL])
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls
    assert call.id and call.type == "function" and call.function.name == "tide_height"
    assert json.loads(call.function.arguments) == {"port": "Cádiz", "token": "tok-4"}
    # The result goes back, and the model answers in words.
    messages = [
        *say("Tide? tok-4"),
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "4.2 m"},
    ]
    words = client.chat.completions.create(model=TOOLS_MODEL, messages=messages, tools=[TOOL])
    assert words.choices[0].message.content.startswith("tok-4")


def test_streamed_tool_call(client):
    name, arguments, ids, finishes = "", "", [], []
    stream = client.chat.completions.create(
        model=TOOLS_MODEL, messages=say("Tide? tok-5"), tools=[TOOL], stream=True
    )
    for chunk in stream:
        choice = chunk.choices[0]
        finishes += [choice.finish_reason] if choice.finish_reason else []
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            ids += [call.id] if call.id else []
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, len(ids), finishes) == ("tide_height", 1, ["tool_calls"])
    assert json.loads(arguments) == {"port": "Cádiz", "token": "tok-5"}


def test_json_schema(client):
    answer = client.chat.completions.create(
        model=TOOLS_MODEL, messages=say("A town, tok-6."), response_format=SCHEMA
    )
    assert json.loads(answer.choices[0].message.content) == {"name": "tok-6", "people": 7}


def test_embeddings_by_default_and_as_floats(client):
    for extra in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model=EMBEDDINGS_MODEL, input=["a b", "c"], dimensions=4, **extra)
        assert [row.index for row in answer.data] == [0, 1]
        assert [list(row.embedding) for row in answer.data] == [
            [0.0, 0.125, 0.25, 0.375],
            [1.0, 1.125, 1.25, 1.375],
        ]
        assert answer.usage.prompt_tokens == 3


def test_models_are_listed(client):
    models = list(client.models.list())
    assert models
    assert all(model.id and model.object == "model" and model.owned_by for model in models)
    assert all(isinstance(model.created, int) for model in models)


@gateway_only
def test_one_model_is_found_by_name_and_by_an_id_with_a_slash(client):
    assert client.models.retrieve(CHAT_MODEL).id == CHAT_MODEL
    # The package percent-encodes the slash.
    assert client.models.retrieve(SLASH_MODEL).id == SLASH_MODEL
    answer = client.chat.completions.create(model=SLASH_MODEL, messages=say("tok-7"))
    assert answer.choices[0].message.content.startswith("tok-7")


@gateway_only
def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=say("hello"))
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "no-such-model" in caught.value.message
    assert caught.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


@gateway_only
def test_a_mistake_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT_MODEL, messages="not a list")
    assert "messages" in caught.value.message


@gateway_only
def test_headers_tell_the_way(client):
    raw = client.chat.completions.with_raw_response.create(model=TOOLS_MODEL, messages=say("tok-8"))
    assert raw.request_id
    assert raw.headers["x-tollway-route"]
    assert raw.headers["x-tollway-attempts"] == "1"
    assert float(raw.headers["x-tollway-cost-usd"]) == pytest.approx(raw.parse().usage.cost, abs=1e-12)


@pytest.mark.skipif(not KEYED_BASE_URL, reason="no gateway that wants keys was named")
def test_keys():
    with openai.OpenAI(base_url=KEYED_BASE_URL, api_key=KEY, max_retries=0) as client:
        assert client.chat.completions.create(model=TOOLS_MODEL, messages=say("tok-9")).choices
    with openai.OpenAI(base_url=KEYED_BASE_URL, api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model=TOOLS_MODEL, messages=say("tok-9"))
        assert caught.value.code == "invalid_api_key"
        assert "sk-wrong" not in caught.value.message
