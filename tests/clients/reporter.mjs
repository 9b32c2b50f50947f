// A reporter for Node's test runner: a line a test, as table.py reads them: file, name and outcome, between tabs.

import { basename } from 'node:path';

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const outcome = data.skip === undefined ? type.slice('test:'.length) : 'skip';
    yield `${basename(data.file ?? data.name)}\t${data.name}\t${outcome}\n`;
  }
}
