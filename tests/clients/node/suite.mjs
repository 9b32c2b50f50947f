// What the suite runs against, from the environment: see ../run.sh, which sets all of it.

const { env } = process;

export const baseURL = env.TOLLWAY_BASE_URL;
// Against a provider itself, to prove the suite: what only a gateway does is left out.
export const direct = env.TOLLWAY_DIRECT === '1';
// Plain chats; the local engine where one runs, so that its text is not ours to know.
export const chatModel = env.TOLLWAY_CHAT_MODEL ?? 'clients-chat';
// Models of a fake provider, which answers with the first word of the request that starts with `tok-`.
export const toolsModel = env.TOLLWAY_TOOLS_MODEL ?? 'clients-tools';
// A model whose stream breaks off, behind a gateway.
export const brokenModel = 'clients-broken';
export const embeddingsModel = env.TOLLWAY_EMBEDDINGS_MODEL ?? 'clients-embed';
export const slashModel = env.TOLLWAY_SLASH_MODEL ?? 'clients/with-slash';
// A second gateway, which wants this key.
export const keyedBaseURL = env.TOLLWAY_KEYED_BASE_URL;
export const key = env.TOLLWAY_KEY;

export const tool = {
  type: 'function',
  function: {
    name: 'tide_height',
    description: 'Height of the tide in a port',
    parameters: {
      type: 'object',
      properties: { port: { type: 'string' }, token: { type: 'string' } },
      required: ['port'],
    },
  },
};

export const schema = {
  type: 'json_schema',
  json_schema: {
    name: 'town',
    strict: true,
    schema: {
      type: 'object',
      properties: { name: { type: 'string' }, people: { type: 'integer' } },
      required: ['name', 'people'],
      additionalProperties: false,
    },
  },
};

export const say = (content) => [{ role: 'user', content }];

export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
