// The official openai package's Responses API against a gateway, unmodified.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';

import { baseURL, chatModel, collect, direct, schema, tool, toolsModel } from './suite.mjs';

const client = new OpenAI({ baseURL, apiKey: 'unused', timeout: 60_000, maxRetries: 0 });
// The fake speaks chat completions only: this is the gateway's own.
const gatewayOnly = { skip: direct && 'only a gateway does this' };
const flatTool = { type: 'function', strict: false, ...tool.function };

test('responses: a response', gatewayOnly, async () => {
  const answer = await client.responses.create({
    model: chatModel, instructions: 'Be brief.', input: 'Say hello, tok-1.', max_output_tokens: 16,
  });
  assert.match(answer.id, /^resp_/);
  assert.ok(['completed', 'incomplete'].includes(answer.status));
  assert.ok(answer.output_text);
  assert.equal(answer.store, false);
  assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
  assert.ok(answer.usage.cost >= 0);
});

test('responses: a stream', gatewayOnly, async () => {
  const events = await collect(await client.responses.create({
    model: chatModel, input: 'Say hello, tok-2.', max_output_tokens: 16, stream: true,
  }));
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, number) => number));
  assert.equal(events[0].type, 'response.created');
  const last = events.at(-1);
  assert.ok(['response.completed', 'response.incomplete'].includes(last.type));
  const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');
  assert.equal(last.response.output[0].content[0].text, text);
  assert.ok(last.response.usage.cost >= 0);
});

test('responses: the stream helper', gatewayOnly, async () => {
  const answer = await client.responses.stream({ model: toolsModel, input: 'tok-3' }).finalResponse();
  assert.match(answer.output_text, /^tok-3/);
});

test('responses: a tool', gatewayOnly, async () => {
  const input = [{ role: 'user', content: 'Tide? tok-4' }];
  const answer = await client.responses.create({ model: toolsModel, input, tools: [flatTool] });
  const [call] = answer.output;
  assert.equal(call.type, 'function_call');
  assert.equal(call.name, 'tide_height');
  assert.deepEqual(JSON.parse(call.arguments), { port: 'Cádiz', token: 'tok-4' });
  input.push(...answer.output, { type: 'function_call_output', call_id: call.call_id, output: '4.2 m' });
  const words = await client.responses.create({ model: toolsModel, input, tools: [flatTool] });
  assert.match(words.output_text, /^tok-4/);
});

test('responses: a streamed tool', gatewayOnly, async () => {
  const stream = client.responses.stream({ model: toolsModel, input: 'Tide? tok-5', tools: [flatTool] });
  const { output: [call] } = await stream.finalResponse();
  assert.equal(call.name, 'tide_height');
  assert.deepEqual(JSON.parse(call.arguments), { port: 'Cádiz', token: 'tok-5' });
});

test('responses: parse', gatewayOnly, async () => {
  const { name, strict, schema: inner } = schema.json_schema;
  const answer = await client.responses.parse({
    model: toolsModel, input: 'A town, tok-6.', text: { format: { type: 'json_schema', name, strict, schema: inner } },
  });
  assert.deepEqual(answer.output_parsed, { name: 'tok-6', people: 7 });
});

test('responses: a stream that breaks raises', gatewayOnly, async () => {
  const seen = [];
  await assert.rejects(async () => {
    for await (const event of await client.responses.create({ model: 'clients-broken', input: 'x', stream: true })) {
      seen.push(event.type);
    }
  }, (error) => error instanceof OpenAI.APIError && /broke off/.test(error.message));
  assert.ok(seen.includes('response.output_text.delta') && !seen.includes('response.completed'));
});

test('responses: what nobody keeps', gatewayOnly, async () => {
  const call = client.responses.create({ model: toolsModel, input: 'x', previous_response_id: 'resp_1' });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, 'previous_response_id');
    assert.match(error.message, /send the whole conversation/);
    return true;
  });
  await assert.rejects(client.responses.retrieve('resp_1'), OpenAI.NotFoundError);
  await assert.rejects(client.responses.delete('resp_1'), OpenAI.NotFoundError);
});
