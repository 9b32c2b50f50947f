"""LiteLLM as a client of a gateway, unmodified."""

import json
import os

import alone  # noqa: F401  (before what it guards)
import pytest

# The prices that came with the package: else it fetches a list as it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

from suite import BASE_URL, DIRECT, EMBEDDINGS_MODEL, SCHEMA, TOOL, TOOLS_MODEL, say  # noqa: E402

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")
# Of the package's own, by the dozen.
pytestmark = pytest.mark.filterwarnings("ignore")
GATEWAY = {"api_base": BASE_URL, "api_key": "unused", "timeout": 60, "max_retries": 0}


def ask(text: str, model: str = TOOLS_MODEL, **wishes):
    return litellm.completion(model=f"openai/{model}", messages=say(text), **GATEWAY, **wishes)


def test_chat():
    answer = ask("Say hello, tok-1.")
    assert answer.choices[0].message.content.startswith("tok-1")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    if not DIRECT:
        assert answer.usage.cost > 0


def test_streamed_chat_with_usage():
    chunks = list(ask("Say hello, tok-2.", stream=True, stream_options={"include_usage": True}))
    spoken = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(spoken).startswith("tok-2") and len(spoken) > 1
    assert [chunk.usage.completion_tokens > 0 for chunk in chunks if getattr(chunk, "usage", None)] == [True]


def test_tools_there_and_back():
    answer = ask("Tide? tok-3", tools=[TOOL])
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "tide_height"
    assert json.loads(call.function.arguments) == {"port": "Cádiz", "token": "tok-3"}
    messages = [*say("Tide? tok-3"), answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "4.2 m"}]
    words = litellm.completion(model=f"openai/{TOOLS_MODEL}", messages=messages, tools=[TOOL], **GATEWAY)
    assert words.choices[0].message.content.startswith("tok-3")


def test_json_schema():
    answer = ask("A town, tok-4.", response_format=SCHEMA)
    assert json.loads(answer.choices[0].message.content) == {"name": "tok-4", "people": 7}


@gateway_only
def test_responses():
    answer = litellm.responses(model=f"openai/{TOOLS_MODEL}", input="Say hello, tok-5.", **GATEWAY)
    assert answer.output[0].content[0].text.startswith("tok-5")


def test_embeddings():
    answer = litellm.embedding(model=f"openai/{EMBEDDINGS_MODEL}", input=["a b", "c"], **GATEWAY)
    assert len(answer.data) == 2 and len(answer.data[0]["embedding"]) > 0


@gateway_only
def test_an_unknown_model_is_not_found():
    with pytest.raises(litellm.NotFoundError) as raised:
        ask("x", model="nobody/has-it")
    assert "does not exist here" in str(raised.value)
