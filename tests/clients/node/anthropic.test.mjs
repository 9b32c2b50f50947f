// The official @anthropic-ai/sdk against a gateway, unmodified: only the base URL is ours.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { baseURL, brokenModel, chatModel, collect, direct, key, keyedBaseURL, say, tool, toolsModel } from './suite.mjs';

// The package adds /v1 itself.
const root = (url) => url.replace(/\/v1$/, '');
const client = new Anthropic({ baseURL: root(baseURL), apiKey: 'unused', timeout: 60_000, maxRetries: 0 });
// A provider of chat completions speaks no Messages.
const gatewayOnly = { skip: direct && 'only a gateway does this' };
const theirTool = {
  name: tool.function.name, description: tool.function.description, input_schema: tool.function.parameters,
};

test('message', gatewayOnly, async () => {
  const message = await client.messages.create({
    model: chatModel, max_tokens: 16, system: 'Be brief.', messages: say('Say hello, tok-1.'),
  });
  assert.equal(message.type, 'message');
  assert.match(message.id, /^msg_/);
  assert.equal(message.content[0].type, 'text');
  assert.ok(message.content[0].text);
  assert.ok(['end_turn', 'max_tokens'].includes(message.stop_reason));
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0 && message.usage.cost >= 0);
  assert.ok(message._request_id);
});

test('stream helper', gatewayOnly, async () => {
  const stream = client.messages.stream({ model: chatModel, max_tokens: 16, messages: say('Say hello, tok-2.') });
  let text = '';
  stream.on('text', (part) => { text += part; });
  const message = await stream.finalMessage();
  assert.ok(text);
  assert.equal(message.content[0].text, text);
  assert.ok(message.usage.output_tokens > 0);
});

test('raw stream', gatewayOnly, async () => {
  const events = await collect(await client.messages.create({
    model: toolsModel, max_tokens: 64, messages: say('tok-3'), stream: true,
  }));
  const kinds = events.map((event) => event.type);
  assert.deepEqual(kinds.slice(0, 2), ['message_start', 'content_block_start']);
  assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
});

test('tools, there and back, streamed', gatewayOnly, async () => {
  const messages = say('Tide? tok-4');
  const message = await client.messages.stream({ model: toolsModel, max_tokens: 64, messages, tools: [theirTool] })
    .finalMessage();
  assert.equal(message.stop_reason, 'tool_use');
  const [call] = message.content;
  assert.deepEqual([call.name, call.input], ['tide_height', { port: 'Cádiz', token: 'tok-4' }]);
  messages.push({ role: 'assistant', content: message.content });
  messages.push({ role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: '4.2 m' }] });
  const words = await client.messages.create({ model: toolsModel, max_tokens: 64, messages, tools: [theirTool] });
  assert.match(words.content[0].text, /^tok-4/);
});

test('tokens are counted', gatewayOnly, async () => {
  const { input_tokens: tokens } = await client.messages.countTokens({
    model: toolsModel, messages: say('Hello there. '.repeat(100)),
  });
  // By what this caller's tokens measured so far: 1 to 12 bytes each.
  assert.ok(tokens > 1300 / 12 && tokens < 2000, `${tokens}`);
});

test('errors have their classes', gatewayOnly, async () => {
  const ask = (more) => client.messages.create({ model: toolsModel, max_tokens: 16, messages: say('x'), ...more });
  await assert.rejects(ask({ model: 'no-such-model' }), (error) =>
    error instanceof Anthropic.NotFoundError && error.type === 'not_found_error' && Boolean(error.requestID));
  await assert.rejects(ask({ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }), (error) =>
    error instanceof Anthropic.BadRequestError && error.message.includes('tools.0.type'));
});

test('a stream that breaks raises', gatewayOnly, async () => {
  const stream = client.messages.stream({ model: brokenModel, max_tokens: 16, messages: say('x') });
  let text = '';
  stream.on('text', (part) => { text += part; });
  await assert.rejects(stream.finalMessage(), (error) => error instanceof Anthropic.APIError && error.type === 'api_error');
  assert.equal(text, 'This goes well so far');
});

test('keys', { skip: !keyedBaseURL && 'no gateway that wants keys was named' }, async () => {
  const ask = (options) => new Anthropic({ baseURL: root(keyedBaseURL), maxRetries: 0, ...options })
    .messages.create({ model: toolsModel, max_tokens: 16, messages: say('tok-9') });
  assert.ok((await ask({ apiKey: key })).content.length);
  assert.ok((await ask({ apiKey: null, authToken: key })).content.length);
  await assert.rejects(ask({ apiKey: 'sk-wrong' }), Anthropic.AuthenticationError);
});
