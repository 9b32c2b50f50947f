"""Pydantic AI against a gateway, unmodified, by chat completions and by the Responses API."""

import asyncio

import alone  # noqa: F401  (before what it guards)
import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from suite import BASE_URL, DIRECT, TOOLS_MODEL

gateway_only = pytest.mark.skipif(DIRECT, reason="only a gateway does this")


class Town(BaseModel):
    """A town and how many live there."""

    name: str
    people: int


def agent(name: str = TOOLS_MODEL, kind=OpenAIChatModel, **settings) -> Agent:
    client = openai.AsyncOpenAI(base_url=BASE_URL, api_key="unused", timeout=60, max_retries=0)
    return Agent(kind(name, provider=OpenAIProvider(openai_client=client)), **settings)


def test_chat():
    result = agent().run_sync("Say hello, tok-1.")
    assert result.output.startswith("tok-1")
    assert result.usage.input_tokens > 0 and result.usage.output_tokens > 0


def test_streamed_chat():
    async def listen() -> list[str]:
        async with agent().run_stream("Say hello, tok-2.") as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    pieces = asyncio.run(listen())
    assert "".join(pieces).startswith("tok-2") and len(pieces) > 1


@pytest.mark.parametrize("kind", [OpenAIChatModel, pytest.param(OpenAIResponsesModel, marks=gateway_only)])
def test_tools_there_and_back(kind):
    asked = []
    sailor = agent(kind=kind)

    @sailor.tool_plain
    def tide_height(port: str, token: str) -> str:
        """Height of the tide in a port."""
        asked.append((port, token))
        return "4.2 m"

    assert sailor.run_sync("Tide? tok-3").output.startswith("tok-3")
    assert asked == [("Cádiz", "tok-3")]


def test_structured_output():
    result = agent(output_type=NativeOutput(Town)).run_sync("A town, tok-4.")
    assert result.output == Town(name="tok-4", people=7)


@gateway_only
def test_responses():
    assert agent(kind=OpenAIResponsesModel).run_sync("Say hello, tok-5.").output.startswith("tok-5")


@gateway_only
def test_an_unknown_model_is_not_found():
    with pytest.raises(ModelHTTPError) as raised:
        agent("nobody/has-it").run_sync("x")
    assert raised.value.status_code == 404
