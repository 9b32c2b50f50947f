"""LangChain's package for OpenAI against a gateway, unmodified."""

import alone  # noqa: F401  (before what it guards)
import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from suite import BASE_URL, DIRECT, EMBEDDINGS_MODEL, TOOL, TOOLS_MODEL

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")


class Town(BaseModel):
    """A town and how many live there."""

    name: str
    people: int


def model(name: str = TOOLS_MODEL, **settings) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=BASE_URL, api_key="unused", timeout=60, max_retries=0, **settings)


def test_chat():
    answer = model().invoke("Say hello, tok-1.")
    assert answer.content.startswith("tok-1")
    assert answer.usage_metadata["input_tokens"] > 0 and answer.usage_metadata["output_tokens"] > 0
    if not DIRECT:
        assert answer.response_metadata["token_usage"]["cost"] > 0


def test_streamed_chat_with_usage():
    whole = None
    pieces = 0
    for chunk in model(stream_usage=True).stream("Say hello, tok-2."):
        whole = chunk if whole is None else whole + chunk
        pieces += bool(chunk.content)
    assert whole.content.startswith("tok-2") and pieces > 1
    assert whole.usage_metadata["output_tokens"] > 0


def test_tools_there_and_back():
    asked = HumanMessage("Tide? tok-3")
    bound = model().bind_tools([TOOL])
    calling = bound.invoke([asked])
    [call] = calling.tool_calls
    assert (call["name"], call["args"]) == ("tide_height", {"port": "Cádiz", "token": "tok-3"})
    answer = bound.invoke([asked, calling, ToolMessage("4.2 m", tool_call_id=call["id"])])
    assert answer.content.startswith("tok-3") and not answer.tool_calls


def test_streamed_tools():
    whole = None
    for chunk in model().bind_tools([TOOL]).stream("Tide? tok-4"):
        whole = chunk if whole is None else whole + chunk
    [call] = whole.tool_calls
    assert (call["name"], call["args"]) == ("tide_height", {"port": "Cádiz", "token": "tok-4"})


def test_structured_output():
    town = model().with_structured_output(Town, method="json_schema").invoke("A town, tok-5.")
    assert town == Town(name="tok-5", people=7)


@gateway_only
def test_responses():
    answer = model(use_responses_api=True).invoke("Say hello, tok-6.")
    assert answer.text.startswith("tok-6")
    assert answer.usage_metadata["output_tokens"] > 0


def test_embeddings():
    # Otherwise the package counts tokens itself, with a vocabulary from the network.
    embeddings = OpenAIEmbeddings(
        model=EMBEDDINGS_MODEL, base_url=BASE_URL, api_key="unused", dimensions=4, check_embedding_ctx_length=False
    )
    assert embeddings.embed_documents(["a b", "c"]) == [[0.0, 0.125, 0.25, 0.375], [1.0, 1.125, 1.25, 1.375]]


@gateway_only
def test_an_unknown_model_is_not_found():
    with pytest.raises(openai.NotFoundError) as raised:
        model("nobody/has-it").invoke("x")
    assert raised.value.code == "model_not_found"
