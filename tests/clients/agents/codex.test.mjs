// Codex CLI, the real binary, does one task through a gateway: it runs the command that the model calls for, sends the
// result back, and prints the answer. The fake provider calls whatever tool the prompt orders.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const { env } = process;
const codex = new URL('node_modules/.bin/codex', import.meta.url).pathname;
const direct = env.TOLLWAY_DIRECT === '1';

// Nothing of the machine's own settings; a command may do as it likes, for it only writes into the folder below.
const config = `
model = "${env.TOLLWAY_TOOLS_MODEL ?? 'clients-tools'}"
model_provider = "tollway"
approval_policy = "never"
sandbox_mode = "danger-full-access"
web_search = "disabled"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.tollway]
name = "Tollway"
base_url = "${env.TOLLWAY_BASE_URL}"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
`;

test('one task', { skip: direct && 'only a gateway does this', timeout: 120_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tollway-codex-'));
  try {
    const [home, work] = [join(folder, 'home'), join(folder, 'work')];
    await mkdir(home);
    await mkdir(work);
    await writeFile(join(home, 'config.toml'), config);
    const order = `call exec_command ${JSON.stringify({ cmd: 'echo tok-1 >made.txt; cat made.txt' })}`;
    const run = promisify(execFile)(codex, ['exec', '--skip-git-repo-check', '--json', order], {
      cwd: work, env: { PATH: env.PATH, HOME: home, CODEX_HOME: home, NO_PROXY: '*', no_proxy: '*' }, timeout: 100_000,
    });
    run.child.stdin.end();
    const { stdout } = await run;
    const events = stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(await readFile(join(work, 'made.txt'), 'utf8'), 'tok-1\n');
    const done = events.filter((event) => event.type === 'item.completed').map((event) => event.item);
    const command = done.find((item) => item.type === 'command_execution');
    assert.equal(command.exit_code, 0);
    assert.match(command.aggregated_output, /tok-1/);
    assert.match(done.at(-1).text, /^tok-1/);
    const turn = events.at(-1);
    assert.equal(turn.type, 'turn.completed');
    assert.ok(turn.usage.input_tokens > 0 && turn.usage.output_tokens > 0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
