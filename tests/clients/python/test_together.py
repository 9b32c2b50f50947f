"""Together's own package against a gateway, unmodified."""

import pytest
import together

from suite import BASE_URL, DIRECT, EMBEDDINGS_MODEL, TOOL, TOOLS_MODEL, say

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")


@pytest.fixture
def client():
    # The package adds /v1 itself.
    base = BASE_URL.removesuffix("/v1")
    with together.Together(base_url=base, api_key="unused", timeout=60, max_retries=0) as client:
        yield client


def test_chat(client):
    answer = client.chat.completions.create(model=TOOLS_MODEL, messages=say("Say hello, tok-1."))
    assert answer.choices[0].message.content.startswith("tok-1")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_chat(client):
    chunks = list(client.chat.completions.create(model=TOOLS_MODEL, messages=say("Say hello, tok-2."), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith("tok-2")


def test_tools(client):
    answer = client.chat.completions.create(model=TOOLS_MODEL, messages=say("How high is it, tok-3?"), tools=[TOOL])
    assert answer.choices[0].message.tool_calls[0].function.name == TOOL["function"]["name"]


def test_embeddings(client):
    answer = client.embeddings.create(model=EMBEDDINGS_MODEL, input=["a b", "c"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 0


@gateway_only
def test_what_is_not_there_raises_its_own_errors(client):
    with pytest.raises(together.NotFoundError) as raised:
        client.chat.completions.create(model="nobody/has-it", messages=say("x"))
    assert "does not exist here" in str(raised.value)
    # The catalogue and a project's own models are Together's alone.
    with pytest.raises(together.NotFoundError):
        client.models.list_supported()
