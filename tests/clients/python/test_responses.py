"""The official openai package's Responses API against a gateway, unmodified."""

import json

import openai
import pydantic
import pytest

from suite import BASE_URL, BROKEN_MODEL, CHAT_MODEL, DIRECT, TOOL, TOOLS_MODEL

pytestmark = pytest.mark.skipif(DIRECT, reason="the fake speaks chat completions only: this is the gateway's own")

FLAT_TOOL = {"type": "function", **TOOL["function"]}


class Town(pydantic.BaseModel):
    name: str
    people: int


@pytest.fixture
def client():
    with openai.OpenAI(base_url=BASE_URL, api_key="unused", timeout=60, max_retries=0) as client:
        yield client


def test_a_response(client):
    answer = client.responses.create(
        model=CHAT_MODEL, instructions="Be brief.", input="Say hello, tok-1.", max_output_tokens=16
    )
    assert answer.id.startswith("resp_") and answer.object == "response"
    assert answer.status in ("completed", "incomplete")
    assert answer.output_text
    assert answer.instructions == "Be brief." and answer.max_output_tokens == 16
    assert answer.store is False and answer.previous_response_id is None
    assert answer.usage.input_tokens > 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.cost >= 0


def test_headers_and_cost(client):
    raw = client.responses.with_raw_response.create(model=TOOLS_MODEL, input="tok-2")
    assert raw.headers["x-tollway-route"]
    answer = raw.parse()
    assert answer.output_text.startswith("tok-2")
    assert float(raw.headers["x-tollway-cost-usd"]) == pytest.approx(answer.usage.cost, abs=1e-12)


def test_a_stream(client):
    events = list(client.responses.create(model=CHAT_MODEL, input="Say hello, tok-3.", max_output_tokens=16, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    types = [event.type for event in events]
    assert types[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert types[-1] in ("response.completed", "response.incomplete")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text and text == events[-1].response.output_text
    assert events[-1].response.usage.cost >= 0


def test_the_stream_helper(client):
    with client.responses.stream(model=TOOLS_MODEL, input="tok-4") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        answer = stream.get_final_response()
    assert text.startswith("tok-4") and answer.output_text == text


def test_a_tool(client):
    items = [{"role": "user", "content": "Tide? tok-5"}]
    answer = client.responses.create(model=TOOLS_MODEL, input=items, tools=[FLAT_TOOL])
    [call] = answer.output
    assert call.type == "function_call" and call.name == "tide_height"
    assert json.loads(call.arguments) == {"port": "Cádiz", "token": "tok-5"}
    # Everything goes back: nothing is kept here.
    items += [item.model_dump(exclude_none=True) for item in answer.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "4.2 m"})
    words = client.responses.create(model=TOOLS_MODEL, input=items, tools=[FLAT_TOOL])
    assert words.output_text.startswith("tok-5")


def test_a_streamed_tool(client):
    events = list(client.responses.create(model=TOOLS_MODEL, input="Tide? tok-6", tools=[FLAT_TOOL], stream=True))
    arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    [done] = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert arguments == done.arguments and done.name == "tide_height"
    assert json.loads(arguments) == {"port": "Cádiz", "token": "tok-6"}
    [call] = events[-1].response.output
    assert call.call_id and call.arguments == arguments


def test_parse(client):
    answer = client.responses.parse(model=TOOLS_MODEL, input="A town, tok-7.", text_format=Town)
    assert answer.output_parsed == Town(name="tok-7", people=7)


def test_a_stream_that_breaks_raises(client):
    seen = []
    with pytest.raises(openai.APIError) as caught:
        for event in client.responses.create(model=BROKEN_MODEL, input="x", stream=True):
            seen.append(event.type)
    assert "broke off" in caught.value.message
    assert "response.output_text.delta" in seen and "response.completed" not in seen


def test_what_nobody_keeps(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=TOOLS_MODEL, input="x", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    assert "send the whole conversation" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError):
        client.responses.delete("resp_1")


def test_a_hosted_tool(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=TOOLS_MODEL, input="x", tools=[{"type": "web_search"}])
    assert caught.value.param == "tools[0].type"
