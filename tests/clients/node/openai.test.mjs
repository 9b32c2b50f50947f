// The official openai package against a gateway, unmodified: only the base URL is ours.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';

import {
  baseURL, chatModel, collect, direct, embeddingsModel, key, keyedBaseURL, say, schema, slashModel, tool, toolsModel,
} from './suite.mjs';

const client = new OpenAI({ baseURL, apiKey: 'unused', timeout: 60_000, maxRetries: 0 });
const gatewayOnly = { skip: direct && 'only a gateway does this' };

test('chat', async () => {
  const answer = await client.chat.completions.create({
    model: chatModel, messages: say('Say hello, tok-1.'), max_tokens: 16,
  });
  const [choice] = answer.choices;
  assert.equal(choice.message.role, 'assistant');
  assert.ok(choice.message.content);
  assert.ok(['stop', 'length'].includes(choice.finish_reason));
  assert.ok(answer.usage.prompt_tokens > 0);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  if (!direct) assert.ok(answer.usage.cost >= 0);
});

test('streamed chat with usage', async () => {
  const chunks = await collect(await client.chat.completions.create({
    model: chatModel, messages: say('Say hello, tok-2.'), max_tokens: 16, stream: true,
    stream_options: { include_usage: true },
  }));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
  if (!direct) assert.ok(last.usage.cost >= 0);
  assert.ok(chunks.every((chunk) => !chunk.usage), 'usage comes once, at the end');
  assert.ok(chunks.every((chunk) => chunk.choices.length > 0), 'only the usage chunk has no choices');
  assert.ok(chunks.every((chunk) => chunk.id && chunk.model));
  assert.ok(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''));
  const finishes = chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
  assert.equal(finishes.length, 1);
});

test('streamed chat without usage', async () => {
  const chunks = await collect(await client.chat.completions.create({
    model: toolsModel, messages: say('Say hello, tok-3.'), max_tokens: 8, stream: true,
  }));
  assert.ok(chunks.every((chunk) => chunk.choices.length > 0 && !chunk.usage), 'nobody asked');
  assert.match(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), /^tok-3/);
});

test('tool call', async () => {
  const messages = say('Tide? tok-4');
  const answer = await client.chat.completions.create({ model: toolsModel, messages, tools: [tool] });
  assert.equal(answer.choices[0].finish_reason, 'tool_calls');
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, 'tide_height');
  assert.deepEqual(JSON.parse(call.function.arguments), { port: 'Cádiz', token: 'tok-4' });
  // The result goes back, and the model answers in words.
  messages.push(answer.choices[0].message, { role: 'tool', tool_call_id: call.id, content: '4.2 m' });
  const words = await client.chat.completions.create({ model: toolsModel, messages, tools: [tool] });
  assert.match(words.choices[0].message.content, /^tok-4/);
});

test('streamed tool call', async () => {
  const runner = client.chat.completions.stream({ model: toolsModel, messages: say('Tide? tok-5'), tools: [tool] });
  const { choices: [choice] } = await runner.finalChatCompletion();
  assert.equal(choice.finish_reason, 'tool_calls');
  assert.equal(choice.message.tool_calls.length, 1);
  const [{ id, function: called }] = choice.message.tool_calls;
  assert.ok(id);
  assert.equal(called.name, 'tide_height');
  assert.deepEqual(JSON.parse(called.arguments), { port: 'Cádiz', token: 'tok-5' });
});

test('JSON schema', async () => {
  const answer = await client.chat.completions.parse({
    model: toolsModel, messages: say('A town, tok-6.'), response_format: schema,
  });
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), { name: 'tok-6', people: 7 });
});

test('embeddings by default and as floats', async () => {
  for (const extra of [{}, { encoding_format: 'float' }]) {
    const answer = await client.embeddings.create({
      model: embeddingsModel, input: ['a b', 'c'], dimensions: 4, ...extra,
    });
    assert.deepEqual(answer.data.map((row) => [...row.embedding]), [[0, 0.125, 0.25, 0.375], [1, 1.125, 1.25, 1.375]]);
    assert.equal(answer.usage.prompt_tokens, 3);
  }
});

test('models are listed', async () => {
  const models = await collect(client.models.list());
  assert.ok(models.length > 0);
  assert.ok(models.every((model) => model.id && model.object === 'model' && model.owned_by));
  assert.ok(models.every((model) => Number.isInteger(model.created)));
});

test('one model is found by name and by an id with a slash', gatewayOnly, async () => {
  assert.equal((await client.models.retrieve(chatModel)).id, chatModel);
  // The package percent-encodes the slash.
  assert.equal((await client.models.retrieve(slashModel)).id, slashModel);
  const answer = await client.chat.completions.create({ model: slashModel, messages: say('tok-7') });
  assert.match(answer.choices[0].message.content, /^tok-7/);
});

test('an unknown model is not found', gatewayOnly, async () => {
  const call = client.chat.completions.create({ model: 'no-such-model', messages: say('hello') });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    assert.equal(error.param, 'model');
    assert.match(error.message, /no-such-model/);
    assert.ok(error.requestID);
    return true;
  });
});

test('a mistake is a bad request', gatewayOnly, async () => {
  const call = client.chat.completions.create({ model: chatModel, messages: 'not a list' });
  await assert.rejects(call, (error) => error instanceof OpenAI.BadRequestError && /messages/.test(error.message));
});

test('headers tell the way', gatewayOnly, async () => {
  const { data, response, request_id: id } = await client.chat.completions
    .create({ model: toolsModel, messages: say('tok-8') })
    .withResponse();
  assert.ok(id);
  assert.ok(response.headers.get('x-tollway-route'));
  assert.equal(response.headers.get('x-tollway-attempts'), '1');
  assert.ok(Math.abs(Number(response.headers.get('x-tollway-cost-usd')) - data.usage.cost) < 1e-12);
});

test('keys', { skip: !keyedBaseURL && 'no gateway that wants keys was named' }, async () => {
  const right = new OpenAI({ baseURL: keyedBaseURL, apiKey: key, maxRetries: 0 });
  assert.ok((await right.chat.completions.create({ model: toolsModel, messages: say('tok-9') })).choices);
  const wrong = new OpenAI({ baseURL: keyedBaseURL, apiKey: 'sk-wrong', maxRetries: 0 });
  await assert.rejects(wrong.chat.completions.create({ model: toolsModel, messages: say('tok-9') }), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, 'invalid_api_key');
    assert.doesNotMatch(error.message, /sk-wrong/);
    return true;
  });
});
