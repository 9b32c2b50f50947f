"""The official anthropic package against a gateway, unmodified: only the base URL is ours."""

import pytest

anthropic = pytest.importorskip("anthropic")

from suite import BASE_URL, BROKEN_MODEL, CHAT_MODEL, DIRECT, KEY, KEYED_BASE_URL, SCHEMA, TOOL, TOOLS_MODEL, say

pytestmark = pytest.mark.skipif(DIRECT, reason="a provider of chat completions speaks no Messages")

THEIR_TOOL = {
    "name": TOOL["function"]["name"],
    "description": TOOL["function"]["description"],
    "input_schema": TOOL["function"]["parameters"],
}


def root(base_url: str) -> str:
    """The package adds /v1 itself."""
    return base_url.removesuffix("/v1")


@pytest.fixture
def client():
    with anthropic.Anthropic(base_url=root(BASE_URL), api_key="unused", timeout=60, max_retries=0) as client:
        yield client


def test_message(client):
    message = client.messages.create(model=CHAT_MODEL, max_tokens=16, messages=say("Say hello, tok-1."))
    assert (message.type, message.role, message.model) == ("message", "assistant", CHAT_MODEL)
    assert message.id.startswith("msg_")
    assert message.content[0].type == "text" and message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message.usage.cost >= 0
    assert message._request_id


def test_system_prompt_and_blocks(client):
    text = {"type": "text", "text": "tok-2 hello", "cache_control": {"type": "ephemeral"}}
    message = client.messages.create(
        model=TOOLS_MODEL,
        max_tokens=64,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [text]}],
        stop_sequences=["END"],
        metadata={"user_id": "u-1"},
        # The package has no word for it any more; older ones send it.
        extra_body={"temperature": 0.5},
    )
    assert message.content[0].text.startswith("tok-2")


def test_max_tokens(client):
    message = client.messages.create(model=TOOLS_MODEL, max_tokens=2, messages=say("tok-3"))
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 2


def test_stream_helper(client):
    with client.messages.stream(model=CHAT_MODEL, max_tokens=16, messages=say("Say hello, tok-4.")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text and text == message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_raw_stream(client):
    events = list(client.messages.create(model=TOOLS_MODEL, max_tokens=64, messages=say("tok-5"), stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert events[-2].usage.output_tokens > 0 and events[-2].usage.cost >= 0


def test_tools_there_and_back(client):
    asked = say("Tide? tok-6")
    message = client.messages.create(model=TOOLS_MODEL, max_tokens=64, messages=asked, tools=[THEIR_TOOL])
    assert message.stop_reason == "tool_use"
    [call] = message.content
    assert (call.type, call.name, call.input) == ("tool_use", "tide_height", {"port": "Cádiz", "token": "tok-6"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "4.2 m"}]}
    messages = [*asked, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    words = client.messages.create(model=TOOLS_MODEL, max_tokens=64, messages=messages, tools=[THEIR_TOOL])
    assert words.stop_reason == "end_turn" and words.content[0].text.startswith("tok-6")


def test_streamed_tools(client):
    with client.messages.stream(
        model=TOOLS_MODEL,
        max_tokens=64,
        messages=say("Tide? tok-7"),
        tools=[THEIR_TOOL],
        tool_choice={"type": "tool", "name": "tide_height"},
    ) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert len(parts) > 1
    assert message.content[-1].input == {"port": "Cádiz", "token": "tok-7"}


def test_json_schema(client):
    form = {"type": "json_schema", "schema": SCHEMA["json_schema"]["schema"]}
    message = client.messages.create(
        model=TOOLS_MODEL, max_tokens=64, messages=say("A town, tok-8."), output_config={"format": form}
    )
    assert message.content[0].text == '{"name":"tok-8","people":7}'


def test_tokens_are_counted(client):
    count = client.messages.count_tokens(model=TOOLS_MODEL, messages=say("Hello there. " * 100), tools=[THEIR_TOOL])
    # By what this caller's tokens measured so far: 1 to 12 bytes each.
    assert 1300 / 12 < count.input_tokens < 2000


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="no-such-model", max_tokens=16, messages=say("hello"))
    assert caught.value.type == "not_found_error"
    assert "no-such-model" in caught.value.message
    assert caught.value.request_id


def test_what_cannot_be_served_is_a_bad_request(client):
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model=TOOLS_MODEL, max_tokens=16, messages=[{"role": "user", "content": [pdf]}])
    assert caught.value.type == "invalid_request_error"
    assert "messages.0.content.0.source.type" in caught.value.message


def test_a_stream_that_breaks_raises(client):
    seen = ""
    with pytest.raises(anthropic.APIStatusError) as caught:
        with client.messages.stream(model=BROKEN_MODEL, max_tokens=16, messages=say("x")) as stream:
            for text in stream.text_stream:
                seen += text
    assert seen == "This goes well so far"
    assert caught.value.type == "api_error"


@pytest.mark.skipif(not KEYED_BASE_URL, reason="no gateway that wants keys was named")
def test_keys():
    for named in ({"api_key": KEY}, {"auth_token": KEY, "api_key": None}):
        with anthropic.Anthropic(base_url=root(KEYED_BASE_URL), max_retries=0, **named) as client:
            assert client.messages.create(model=TOOLS_MODEL, max_tokens=16, messages=say("tok-9")).content
    with anthropic.Anthropic(base_url=root(KEYED_BASE_URL), api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.messages.create(model=TOOLS_MODEL, max_tokens=16, messages=say("tok-9"))
    assert caught.value.type == "authentication_error"
    assert "sk-wrong" not in caught.value.message
