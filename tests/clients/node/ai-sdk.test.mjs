// Vercel's ai with @ai-sdk/openai, which speaks the Responses API, against a gateway, unmodified.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, stepCountIs, streamText, tool as aiTool } from 'ai';

import { baseURL, direct, tool, toolsModel } from './suite.mjs';

const openai = createOpenAI({ baseURL, apiKey: 'unused' });
const model = openai.responses(toolsModel);
const gatewayOnly = { skip: direct && 'only a gateway does this' };
const tools = {
  tide_height: aiTool({
    description: tool.function.description,
    inputSchema: jsonSchema(tool.function.parameters),
    execute: async () => '4.2 m',
  }),
};

test('ai, by responses: text', gatewayOnly, async () => {
  const { text, usage, finishReason } = await generateText({ model, prompt: 'tok-1', maxRetries: 0 });
  assert.match(text, /^tok-1/);
  assert.equal(finishReason, 'stop');
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
});

test('ai, by responses: streamed text', gatewayOnly, async () => {
  const result = streamText({ model, prompt: 'tok-2', maxRetries: 0 });
  let text = '';
  for await (const piece of result.textStream) text += piece;
  assert.match(text, /^tok-2/);
  assert.equal(await result.finishReason, 'stop');
});

// The tool is run and its result sent back, until the model answers in words. The package would refer to earlier items
// by id unless told that nothing is kept.
for (const [name, run] of [['ai, by responses: a tool', generateText], ['ai, by responses: a streamed tool', streamText]]) {
  test(name, gatewayOnly, async () => {
    const result = await run({
      model, tools, prompt: 'Tide? tok-3', maxRetries: 0, stopWhen: stepCountIs(2), providerOptions: { openai: { store: false } },
    });
    const steps = await result.steps;
    assert.equal(steps.length, 2);
    assert.deepEqual(steps[0].toolCalls[0].input, { port: 'Cádiz', token: 'tok-3' });
    assert.match(await result.text, /^tok-3/);
  });
}
