// Vercel's ai with the two providers that speak chat completions, @ai-sdk/openai-compatible and
// @openrouter/ai-sdk-provider, against a gateway, unmodified.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createOpenRouter } from '@openrouter/ai-sdk-provider';
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool as aiTool } from 'ai';

import { baseURL, direct, schema, tool, toolsModel } from './suite.mjs';

const compatible = createOpenAICompatible({
  name: 'tollway', baseURL, apiKey: 'unused', includeUsage: true, supportsStructuredOutputs: true,
});
const openrouter = createOpenRouter({ baseURL, apiKey: 'unused', compatibility: 'strict' });
const gatewayOnly = { skip: direct && 'only a gateway does this' };
const tools = {
  tide_height: aiTool({
    description: tool.function.description,
    inputSchema: jsonSchema(tool.function.parameters),
    execute: async () => '4.2 m',
  }),
};

for (const [name, chat] of [
  ['openai-compatible', (id) => compatible.chatModel(id)],
  ['openrouter-provider', (id, wishes) => openrouter.chat(id, wishes)],
]) {
  const model = chat(toolsModel);

  test(`${name}: chat`, async () => {
    const { text, usage, finishReason } = await generateText({ model, prompt: 'tok-1', maxRetries: 0 });
    assert.match(text, /^tok-1/);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  });

  test(`${name}: streamed chat with usage`, async () => {
    const result = streamText({ model, prompt: 'tok-2', maxRetries: 0 });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert.match(pieces.join(''), /^tok-2/);
    assert.ok(pieces.length > 1);
    assert.equal(await result.finishReason, 'stop');
    assert.ok((await result.usage).outputTokens > 0);
  });

  // The tool is run and its result sent back, until the model answers in words.
  for (const [manner, run] of [['a tool', generateText], ['a streamed tool', streamText]]) {
    test(`${name}: ${manner}`, async () => {
      const result = await run({ model, tools, prompt: 'Tide? tok-3', maxRetries: 0, stopWhen: stepCountIs(2) });
      const steps = await result.steps;
      assert.equal(steps.length, 2);
      assert.deepEqual(steps[0].toolCalls[0].input, { port: 'Cádiz', token: 'tok-3' });
      assert.match(await result.text, /^tok-3/);
    });
  }

  test(`${name}: structured output`, async () => {
    const output = Output.object({ schema: jsonSchema(schema.json_schema.schema) });
    const result = await generateText({ model, output, prompt: 'A town, tok-4.', maxRetries: 0 });
    assert.deepEqual(result.output, { name: 'tok-4', people: 7 });
  });

  test(`${name}: an unknown model is not found`, gatewayOnly, async () => {
    const asked = generateText({ model: chat('nobody/has-it'), prompt: 'x', maxRetries: 0 });
    await assert.rejects(asked, (error) => error.statusCode === 404 && /does not exist here/.test(error.message));
  });
}

test('openrouter-provider: routing fields steer, and the cost comes back', gatewayOnly, async () => {
  const ask = (provider) => generateText({
    model: openrouter.chat(toolsModel, { provider, usage: { include: true } }), prompt: 'tok-5', maxRetries: 0,
  });
  const { providerMetadata } = await ask({ order: ['fake'], allow_fallbacks: false });
  assert.ok(providerMetadata.openrouter.usage.cost > 0);
  await assert.rejects(ask({ ignore: ['fake'] }), (error) => error.statusCode === 404);
});
