import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Client, textOf, to } from '@arc/host-contract';
import { startTestAgent } from '@arc/thread-core/testing';
import t from 'tap';
import { Example } from './browser/example.js';

// Each is a process of its own, and the first answer of a process takes its time.
t.setTimeout(120_000);

for (const name of ['fastify', 'express', 'express-ws', 'koa', 'ws', 'http', 'hono']) {
  t.test(`examples/${name} serves the page and its agents, and SIGTERM ends it with 0`, async (t) => {
    const example = new Example(name);
    t.teardown(() => example.stop('SIGKILL'));
    const url = await example.url;
    const page = await fetch(url);
    t.match(page.headers.get('content-type'), /^text\/html/);
    t.match(await page.text(), /<!doctype html>/i);
    t.match(await fetch(`${url}/main.js`), { status: 200 });
    t.match(await fetch(`${url}/nothing`), { status: 404 });

    // A page whose own name was made to point to this machine: refused before or after the upgrade.
    const headers = { host: 'evil.example', origin: 'http://evil.example' };
    const rebound = new Client(`${url.replace('http', 'ws')}/ws`, { headers });
    t.ok([1006, 4403].includes((await rebound.closed).code));

    const client = await Client.open(`${url.replace('http', 'ws')}/ws`);
    for (const agent of ['support', 'finance', 'hr']) {
      const types = (await client.exchange(to(agent))).map(({ type }) => type);
      t.strictSame(new Set(types), new Set(['content', 'done']), `${agent} answers piece by piece`);
    }
    const { code, signal, output } = await example.stop();
    // Fastify's example logs the refusal, as JSON.
    const said = output.replace(/^\{.*"reason":"host".*\n/m, '');
    t.strictSame({ code, signal, said }, { code: 0, signal: null, said: `Open ${url}\n` });
    t.equal((await client.closed).code, 1001);
  });

  t.test(`examples/${name} does as its environment says`, async (t) => {
    const agent = await startTestAgent({ token: 'secret' });
    t.teardown(() => agent.close());
    const environment = { ARC_ENDPOINT: agent.endpoint, ARC_TOKEN: 'secret', ARC_AGENTS: 'a', ARC_STREAM: 'false' };
    const example = new Example(name, environment);
    t.teardown(() => example.stop('SIGKILL'));
    const client = await Client.open(`${(await example.url).replace('http', 'ws')}/ws`);
    t.equal(textOf((await client.exchange(to('a')))[0] ?? {}), 'a #1: hello');
    t.match(await client.exchange(to('b')), [{ type: 'error', data: { code: -44_002 } }]);
    t.match(await example.stop(), { code: 0, signal: null });
    t.match(agent.counters, { started: 1, ended: 1, open: 0 });
  });
}

// `npm run test:hosts` runs those that are not run above.
t.test('every example with a relay of its own sets allowedHosts', async (t) => {
  const examples = new URL('../examples/', import.meta.url);
  const servers = readdirSync(examples).flatMap((name) =>
    ['src/server.ts', 'src/node.ts', 'server.mjs'].map((file) => new URL(`${name}/${file}`, examples)),
  );
  const code = servers.filter(existsSync).map((file) => [file.pathname, readFileSync(file, 'utf8')] as const);
  const relays = code.filter(([, text]) => /from '(@arc\/thread-core|\w+-arc)'/.test(text));
  t.ok(relays.length >= 10, `${relays.length} examples`);
  for (const [path, text] of relays) t.match(text, 'allowedHosts', path);
});
