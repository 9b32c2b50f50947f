// OpenRouter's and Together's own packages against a gateway, unmodified: the one list of models serves both.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OpenRouter } from '@openrouter/sdk';
import Together from 'together-ai';

import { baseURL, collect, direct, say, tool, toolsModel } from './suite.mjs';

const openrouter = new OpenRouter({ apiKey: 'unused', serverURL: baseURL, timeoutMs: 60_000 });
const together = new Together({ baseURL, apiKey: 'unused', timeout: 60_000, maxRetries: 0 });
const gatewayOnly = { skip: direct && 'only a gateway does this' };

const ask = (wishes) => openrouter.chat.send({ chatRequest: { messages: say('Say hello, tok-4.'), ...wishes } });

test('openrouter: chat', async () => {
  const answer = await ask({ model: toolsModel });
  assert.ok(answer.choices[0].message.content.startsWith('tok-4'));
});

test('openrouter: routing fields steer', gatewayOnly, async () => {
  for (const wishes of [
    { model: `${toolsModel}:floor` },
    { model: 'nobody/has-it', models: [toolsModel] },
    { model: toolsModel, provider: { order: ['fake'], allowFallbacks: false, sort: 'throughput' }, sessionId: 'one' },
  ]) {
    assert.ok((await ask(wishes)).choices[0].message.content.startsWith('tok-4'));
  }
  await assert.rejects(ask({ model: toolsModel, provider: { ignore: ['fake'] } }), (error) => error.statusCode === 404);
});

test('openrouter: models', gatewayOnly, async () => {
  const { result } = await openrouter.models.list();
  const model = result.data.find(({ id }) => id === toolsModel);
  assert.equal(model.pricing.prompt, '0.00000014');
  assert.equal(model.contextLength, 131072);
});

test('together: chat, streamed and with tools', async () => {
  const request = { model: toolsModel, messages: say('Say hello, tok-5.') };
  assert.ok((await together.chat.completions.create(request)).choices[0].message.content.startsWith('tok-5'));
  const chunks = await collect(await together.chat.completions.create({ ...request, stream: true }));
  assert.ok(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('').startsWith('tok-5'));
  const called = await together.chat.completions.create({ ...request, tools: [tool] });
  assert.equal(called.choices[0].message.tool_calls[0].function.name, tool.function.name);
});

test('together: models', gatewayOnly, async () => {
  const model = (await together.models.list()).find(({ id }) => id === toolsModel);
  assert.deepEqual([model.type, model.pricing.input, model.pricing.output], ['chat', 0.14, 0.28]);
});
