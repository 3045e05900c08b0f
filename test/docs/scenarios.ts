import { once } from 'node:events';
import { RedisServer } from '@arc/test-client';
import { ArcClient, ThreadManager } from '@arc/thread-core';
import { text, textOf } from '@arc/thread-protocol';
import { type Block, blocks } from './documents.js';
import { Program } from './program.js';
import { recipes } from './recipes.js';
import {
  answering,
  ask,
  connect,
  methodsOf,
  PORT,
  pageAt,
  put,
  refusal,
  type Scenario,
  serve,
  startAgent,
} from './support.js';

/** Runs the code of a server: two messages make one chat, which ends with the connection. */
const serves: Scenario = async (t, block, code) => {
  const agent = await startAgent(t);
  const { program, port } = await serve(t, code, agent);
  const socket = await connect(t, port);

  const first = await ask(socket, { agent_id: 'support', message: text('Hello'), trace_id: 'trace-1' });
  const expected = { type: 'response', agent_id: 'support', trace_id: 'trace-1' };
  t.match(first, { ...expected, response: answering('support #1: Hello') });
  const second = await ask(socket, { agent_id: 'support', message: text('Again') });
  t.match(second, { type: 'response', response: answering('support #2: Again') });
  t.match(JSON.parse(agent.requests[0]?.body ?? ''), { requestAgent: 'arc-threads', traceId: 'trace-1' });

  socket.close();
  await agent.waitFor('idle');
  t.strictSame(methodsOf(agent), ['chat.start', 'chat.message', 'chat.end']);

  if (!block.kind.endsWith('closes')) return;
  const other = await connect(t, port);
  await ask(other, { agent_id: 'hr', message: text('Hello') });
  const refused = await ask(other, { agent_id: 'finance', message: text('Hello') });
  t.match(refused, { type: 'error', data: { code: -44002 } }, 'an agent that is not in the list');
  const health = await fetch(`http://127.0.0.1:${port}/health`);
  t.match(await health.json(), { sessions: 1, threads: 1, pending: 0 });
  program.stop();
  t.match(await once(other, 'close'), [1001]);
  t.match(await program.ended, { code: 0, errors: '' });
  t.equal(agent.counters.open, 0, 'no chat is left open');
};

/** Runs a program that ends by itself, without an error, and says what it should. */
const runs: Scenario = async (t, block, code) => {
  const { code: exitCode, output, errors } = await new Program(t, code).ended;
  t.strictSame({ exitCode, errors }, { exitCode: 0, errors: '' });
  if (!block.code.includes('console.log')) t.equal(output, '');
  if (block.code.includes('console.log(error.code')) t.match(output, /^done .*\n-43001 404 support\n$/ms);
};

/** Runs a program that asserts by itself. */
const checks: Scenario = async (t, _block, code) => {
  t.strictSame(await new Program(t, code).ended, { code: 0, output: '', errors: '' });
};

/** How each kind of block is tested, by the comment above it. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  'run: server': serves,
  'run: server, closes': serves,
  'run: script': runs,
  'run: check': checks,
  ...recipes,

  'run: client': async (t, block, code) => {
    const agent = await startAgent(t);
    const server = blocks.find(({ document, kind }) => document === block.document && kind === 'run: server') as Block;
    const { port } = await serve(t, server.code, agent);
    const client = new Program(t, put(t, code, PORT, String(port)));
    t.strictSame(await client.ended, { code: 0, output: 'support #1: Hello\n', errors: '' });
    await agent.waitFor('idle');
  },

  'run: page': async (t, _block, code) => {
    const agent = await startAgent(t);
    const server = blocks.find(({ document, kind }) => document === 'README.md' && kind === 'run: server') as Block;
    const { port } = await serve(t, server.code, agent);
    const page = new Program(t, `${pageAt(port)}${code}\nclient.close();`);
    t.strictSame(await page.ended, { code: 0, output: 'support #1: My printer is broken', errors: '' });
    await agent.waitFor('idle');
  },

  'run: slow agent': async (t, _block, code) => {
    const program = new Program(t, put(t, code, '8000', '0'));
    const client = new ArcClient({ endpoint: `http://127.0.0.1:${await program.port}/arc` });
    t.teardown(() => client.close());
    const threads = new ThreadManager(client);
    const answer = await threads.sendToAgent({ agentId: 'support', message: text('one two') });
    t.equal(textOf(answer), 'one two ');
    const failing = threads.sendToAgent({ agentId: 'support', message: text('fail') });
    await t.rejects(failing, { code: -42_004, message: /I was told to fail/ });
  },

  'run: redis': async (t, _block, code) => {
    const redis = await RedisServer.start();
    t.teardown(() => redis.stop());
    const program = new Program(t, `${put(t, code, 'redis://127.0.0.1:6379', redis.url)}\nclient.destroy();`);
    t.strictSame(await program.ended, { code: 0, output: '', errors: '' });
  },

  'run: authentication': async (t, _block, code) => {
    const agent = await startAgent(t, { token: 'token-for-ada' });
    const { program, port } = await serve(t, code, agent);
    t.equal(await refusal(port), 401);

    const socket = await connect(t, port, { headers: { 'x-api-key': 'key-of-ada' } });
    const allowed = await ask(socket, { agent_id: 'support', message: text('Hello') });
    t.match(allowed, { type: 'response', response: answering('support #1: Hello') });
    const refused = await ask(socket, { agent_id: 'hr', message: text('Hello') });
    t.match(refused, { type: 'error', agent_id: 'hr', data: { code: -44002 } });

    program.stop();
    const { output } = await program.ended;
    t.match(output, /"session":"[\w-]{36}","user":"ada","msg":"connected"/);
    t.notMatch(output, 'key-of-ada');
  },

  'run: monitoring': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { program, port } = await serve(t, code, agent);
    const socket = await connect(t, port);
    await ask(socket, { agent_id: 'support', message: text('Hello') });
    const health = await fetch(`http://127.0.0.1:${port}/health`);
    t.match(await health.json(), { sessions: 1, sends: { response: 1 } });
    program.stop();
    const { output } = await program.ended;
    t.match(output, /"session":"[\w-]{36}","state":"response".*"msg":"answered"/);
  },

  'run: healthz': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    const health = await fetch(`http://127.0.0.1:${port}/healthz`);
    t.equal(health.status, 200);
    t.strictSame(await health.json(), { status: 'ok', closing: false });
    await ask(await connect(t, port), { agent_id: 'support', message: text('Hello') });
    const metrics = await fetch(`http://127.0.0.1:${port}/metrics`);
    t.match(metrics.headers.get('content-type'), /^text\/plain/);
    t.match(await metrics.text(), /^arc_relay_sends_total\{state="response"\} 1$/m);
  },

  'run: loop': async (t, _block, code) => {
    const agent = await startAgent(t, { agents: ['support'] });
    const { port } = await serve(t, code, agent);
    const socket = await connect(t, port);
    t.match(await ask(socket, { agent_id: 'support', message: text('Hello') }), answering('support #1: Hello'));
    t.match(await ask(socket, { agent_id: 'support', message: text('Again') }), answering('support #2: Again'));
    t.match(await ask(socket, { agent_id: 'hr', message: text('Hello') }), { type: 'error' });
    socket.close();
    await agent.waitFor('idle');
    t.equal(agent.counters.ended, 1);
  },
};
