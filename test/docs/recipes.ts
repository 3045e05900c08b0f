import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { isBuiltin } from 'node:module';
import { type AddressInfo, connect as connectTo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { until } from '@arc/test-client';
import { createRelay, type Relay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import { text, textOf } from '@arc/thread-protocol';
import { SignJWT } from 'jose';
import { io } from 'socket.io-client';
import type { Test } from 'tap';
import { type Block, blocks } from './documents.js';
import { PostgresServer } from './postgres-server.js';
import { Program } from './program.js';
import { answering, ask, connect, pageAt, put, refusal, type Scenario, serve, startAgent } from './support.js';

const HELLO = { agent_id: 'support', message: text('Hello') };
const ANSWER = { type: 'response', response: answering('support #1: Hello') };

function post(port: number, path: string, headers: Record<string, string> = {}, body?: object): Promise<Response> {
  const json = body === undefined ? {} : { 'content-type': 'application/json' };
  return fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { ...json, ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  });
}

/** Lets a server listen that has a relay on /ws. Resolves to its port. */
async function listenWith(t: Test, server: Server, relay: Relay): Promise<number> {
  serveRelay(server, relay, { path: '/ws' });
  t.teardown(() => server.close());
  t.teardown(() => relay.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** An OAuth 2.0 token endpoint, which gives a new token each time. Resolves to its URL. */
async function startTokenEndpoint(t: Test, tokens: string[]): Promise<string> {
  const server = createServer((request, response) => {
    const isClient = request.headers.authorization === `Basic ${btoa('client-id:client-secret')}`;
    response.writeHead(isClient ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ access_token: tokens.shift(), token_type: 'Bearer' }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
}

/** An HTTP proxy that only tunnels (CONNECT). Resolves to its URL, and the hosts that were requested. */
async function startProxy(t: Test): Promise<{ url: string; tunnels: string[] }> {
  const tunnels: string[] = [];
  const server = createServer((_request, response) => response.writeHead(405).end());
  server.on('connect', ({ url = '' }, socket: Duplex, head: Buffer) => {
    tunnels.push(url);
    const { hostname, port } = new URL(`http://${url}`);
    const target = connectTo(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      target.write(head);
      target.pipe(socket).pipe(target);
    });
    target.on('error', () => socket.destroy());
    socket.on('error', () => target.destroy());
    t.teardown(() => target.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, tunnels };
}

/** Scenarios of the recipes in docs/. */
export const recipes: Readonly<Record<string, Scenario>> = {
  'run: cookies': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    t.equal(await refusal(port), 401, 'without a session');
    const login = await post(port, '/login', {}, { name: 'ada' });
    t.equal(login.status, 204);
    const cookie = login.headers.getSetCookie()[0]?.split(';')[0] ?? '';
    const socket = await connect(t, port, { headers: { cookie } });
    t.match(await ask(socket, HELLO), ANSWER);
    t.equal(await refusal(port, { headers: { cookie }, origin: 'https://evil.example' }), 403, 'from another site');
    const closed = once(socket, 'close');
    t.equal((await post(port, '/logout', { cookie })).status, 204);
    t.equal((await closed)[0], 4401, 'when the user logs out');
    t.equal(await refusal(port, { headers: { cookie } }), 401, 'after the logout');
    t.equal((await post(port, '/logout')).status, 204, 'without a session');
  },

  'run: jwt': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    const sign = (secret: string, expires: string | Date): Promise<string> =>
      new SignJWT()
        .setProtectedHeader({ alg: 'HS256' })
        .setIssuer('https://login.example')
        .setAudience('chat')
        .setSubject('ada')
        .setExpirationTime(expires)
        .sign(new TextEncoder().encode(secret));
    const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
    const secret = 'for development only, 32 characters';
    t.equal(await refusal(port), 401, 'without a token');
    t.equal(await refusal(port, bearer(await sign('another secret of 32 characters!!', '1h'))), 401, 'a forged token');
    const socket = await connect(t, port, bearer(await sign(secret, '1h')));
    t.match(await ask(socket, HELLO), ANSWER);
    const short = await connect(t, port, bearer(await sign(secret, new Date(Date.now() + 2000))));
    const [closed] = await once(short, 'close');
    t.equal(closed, 4401, 'when the token expires');
  },

  'run: tickets': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    t.equal((await post(port, '/ticket')).status, 401);
    const response = await post(port, '/ticket', { authorization: 'Bearer key-of-ada' });
    const { ticket } = (await response.json()) as { ticket: string };
    const path = `/ws?ticket=${ticket}`;
    const origin = 'https://app.example';
    const socket = await connect(t, port, { origin }, path);
    t.match(await ask(socket, HELLO), ANSWER);
    for (const refused of [path, '/ws']) {
      const other = await connect(t, port, { origin }, refused);
      t.equal((await once(other, 'close'))[0], 4401, 'the second time, or without a ticket');
    }
  },

  'run: ticket page': async (t, _block, code) => {
    const agent = await startAgent(t);
    const server = createServer(({ headers }, response) => {
      if (headers.authorization === 'Bearer key-of-ada') response.end('{"ticket":"valid"}');
      else response.writeHead(401).end();
    });
    const authenticate = ({ url }: { url?: string | undefined }) => url === '/ws?ticket=valid';
    const relay = createRelay({ endpoint: agent.endpoint, refuseWith: 'close', authenticate });
    const port = await listenWith(t, server, relay);
    const page = put(t, code, 'https://relay.example', `http://127.0.0.1:${port}`);
    const user = `
      client.on('state', ({ status }) => {
        console.log(document.title);
        if (document.title === 'Please log in') onLogin('key-of-ada');
        if (status === 'open') client.close();
      });`;
    t.strictSame(await new Program(t, `${pageAt(port)}${page}${user}`).ended, {
      code: 0,
      output: 'connecting\nPlease log in\nconnecting\nopen\nclosed\n',
      errors: '',
    });
  },

  'run: user-tokens': async (t, _block, code) => {
    const agent = await startAgent(t, { token: 'token-for-ada' });
    const { port } = await serve(t, code, agent);
    t.equal(await refusal(port), 401);
    const socket = await connect(t, port, { headers: { 'x-api-key': 'key-of-ada' } });
    t.match(await ask(socket, HELLO), ANSWER);
  },

  'run: oauth': async (t, _block, code) => {
    const agent = await startAgent(t, { token: 'second' });
    const url = await startTokenEndpoint(t, ['first, which the agent rejects', 'second']);
    const { port } = await serve(t, code, agent, { TOKEN_URL: url });
    const socket = await connect(t, port);
    t.match(await ask(socket, HELLO), ANSWER, 'with a token that was renewed');
  },

  'run: logout': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    const own = await connect(t, port, { headers: { 'x-user': 'ada' } });
    const other = await connect(t, port, { headers: { 'x-user': 'bob' } });
    await ask(own, HELLO);
    const closed = once(own, 'close');
    t.equal((await post(port, '/logout/ada')).status, 204);
    t.equal((await closed)[0], 4401);
    await agent.waitFor('idle');
    t.equal(agent.counters.open, 0, 'the chat is ended');
    t.match(await ask(other, HELLO), { type: 'response' }, 'other users stay connected');
  },

  'run: endpoints': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    const socket = await connect(t, port);
    t.match(await ask(socket, HELLO), ANSWER);
    const refused = await ask(socket, { ...HELLO, agent_id: '../../admin' });
    t.match(refused, { type: 'error', data: { code: -44002 } });
    t.equal(agent.requests.length, 1, 'nothing else reaches the agent');
  },

  'run: proxy': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { url, tunnels } = await startProxy(t);
    const { port } = await serve(t, code, agent, { HTTP_PROXY: url });
    const socket = await connect(t, port);
    t.match(await ask(socket, HELLO), ANSWER);
    t.strictSame([...new Set(tunnels)], [new URL(agent.endpoint).host]);
  },

  'run: socketio': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    const other = io(`http://127.0.0.1:${port}`, { transports: ['websocket'] });
    t.teardown(() => other.disconnect());
    const socket = await connect(t, port);
    t.match(await ask(socket, HELLO), ANSWER);
    t.equal(await other.timeout(10_000).emitWithAck('hello'), 'Socket.IO works');
  },

  'run: routing': async (t, _block, code) => {
    const agent = await startAgent(t);
    agent.script({ method: 'chat.start', agentId: 'router' }, 'billing', 'nonsense');
    const { port } = await serve(t, code, agent);
    const socket = await connect(t, port);
    const answerTo = async (content: string, context_id: string): Promise<unknown> =>
      (await ask(socket, { message: text(content), context_id })).response;
    t.match(await answerTo('My invoice is wrong', 'a'), answering('billing #1: My invoice is wrong'), 'by a rule');
    t.match(await answerTo('What do I owe?', 'b'), answering('billing #1: What do I owe?'), 'by the router');
    t.match(await answerTo('Hello', 'c'), answering('support #1: Hello'), 'the router named no agent');
    t.match(
      await answerTo('And the refund?', 'c'),
      answering('support #2: And the refund?'),
      'it stays where it began',
    );
    const asked = agent.requests.filter(({ agentId }) => agentId === 'router').map(({ method }) => method);
    t.strictSame(asked.filter((method) => method === 'chat.start').length, 2);
    socket.close();
    await agent.waitFor('idle');
  },

  'run: approval server': async (t, _block, code) => {
    const agent = await startAgent(t);
    const { port } = await serve(t, code, agent);
    const decision = { role: 'user', parts: [{ type: 'approval', content: { id: 'a-1', decision: 'approved' } }] };
    const ada = await connect(t, port, { headers: { 'x-api-key': 'key-of-ada' } });
    t.match(await ask(ada, { agent_id: 'support', message: decision }), { type: 'response' });
    const bob = await connect(t, port, { headers: { 'x-api-key': 'key-of-bob' } });
    t.match(await ask(bob, HELLO), ANSWER);
    t.match(await ask(bob, { agent_id: 'support', message: decision }), { type: 'error', data: { code: -44002 } });
  },

  'run: approval page': async (t, _block, code) => {
    for (const isApproved of [true, false]) {
      const decisions: unknown[] = [];
      const agent = await startAgent(t, {
        handler: async function* ({ message, method }) {
          if (method === 'chat.start') {
            yield 'I may pay. ';
            yield { event: 'approval', data: { id: 'a-1', tool: 'pay', amount: 100 } };
            return;
          }
          decisions.push(message.parts);
          yield 'Done: ';
          yield { event: 'metadata', data: { model: 'small' } };
          yield JSON.stringify(message.parts[0]?.content);
        },
      });
      const { code: server } = blocks.find(
        ({ document, kind }) => document === 'README.md' && kind === 'run: server',
      ) as Block;
      const { port } = await serve(t, server, agent);
      const page = `${pageAt(port)} globalThis.confirm = (question) => {
        if (question !== 'pay: 100 €?') throw new Error(question);
        return ${isApproved};
      };
      ${code}\nclient.close();`;
      const decision = { id: 'a-1', decision: isApproved ? 'approved' : 'rejected' };
      const output = `Done: ${JSON.stringify(decision)}`;
      t.strictSame(await new Program(t, page).ended, { code: 0, output, errors: '' });
      t.strictSame(decisions, [[{ type: 'approval', content: decision }]]);
    }
  },

  'run: history': async (t, _block, code) => {
    const agent = await startAgent(t);
    const folder = mkdtempSync(join(tmpdir(), 'arc-history-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const env = { DATABASE: join(folder, 'history.db'), NODE_NO_WARNINGS: '1' };
    if (!isBuiltin('node:sqlite')) {
      const program = new Program(t, code, env);
      program.port.catch(() => {});
      t.match(
        (await program.ended).errors,
        /ERR_UNKNOWN_BUILTIN_MODULE/,
        'it needs a newer Node, as the document says',
      );
      return;
    }
    const first = await serve(t, code, agent, env);
    const socket = await connect(t, first.port, { headers: { 'x-user': 'ada' } });
    t.match(await ask(socket, HELLO), ANSWER);
    const other = await connect(t, first.port, { headers: { 'x-user': 'bob' } });
    await ask(other, HELLO);
    first.program.stop();
    await first.program.ended;
    const second = await serve(t, code, agent, env);
    const history = await fetch(`http://127.0.0.1:${second.port}/history`, { headers: { 'x-user': 'ada' } });
    t.match(await history.json(), [
      { user: 'ada', agent: 'support', question: 'Hello', answer: 'support #1: Hello', state: 'response' },
    ]);
    t.equal((await fetch(`http://127.0.0.1:${second.port}/history`)).status, 401);
  },

  'run: history page': async (t, _block, code) => {
    const agent = await startAgent(t);
    const rows: { question: string; answer: string }[] = [];
    const relay = createRelay({
      endpoint: agent.endpoint,
      hooks: { onTurn: (_session, { message, answer }) => void rows.push({ question: textOf(message), answer }) },
    });
    const server = createServer((_request, response) => response.end(JSON.stringify(rows)));
    const port = await listenWith(t, server, relay);
    // In a page, a path is on the page's own host.
    const page = put(t, code, "'/history'", "new URL('/history', location.href)");
    const turn = 'My printer is broken\nsupport #1: My printer is broken\n';
    for (const output of [turn, turn + turn]) {
      const program = new Program(t, `${pageAt(port)}${page}\nclient.close();`);
      t.strictSame(await program.ended, { code: 0, output, errors: '' });
    }
  },

  'run: history in Postgres': async (t, _block, code) => {
    const agent = await startAgent(t);
    const postgres = await PostgresServer.start();
    t.teardown(() => postgres.stop());
    const { port, program } = await serve(t, code, agent, { DATABASE_URL: postgres.url });
    const history = (user: string) => fetch(`http://127.0.0.1:${port}/history`, { headers: { 'x-user': user } });
    const rowsOf = async (user: string) => (await (await history(user)).json()) as unknown[];
    const ada = await connect(t, port, { headers: { 'x-user': 'ada' } });
    const bob = await connect(t, port, { headers: { 'x-user': 'bob' } });
    t.match(await ask(ada, HELLO), ANSWER);
    await ask(bob, HELLO);
    // The client has its answer before the row is written.
    await until(async () => (await rowsOf('ada')).length > 0, 'the row to be written');
    t.match(await rowsOf('ada'), [
      {
        account: 'ada',
        agent: 'support',
        context: null,
        question: 'Hello',
        answer: 'support #1: Hello',
        state: 'response',
      },
    ]);
    t.equal((await fetch(`http://127.0.0.1:${port}/history`)).status, 401);
    await postgres.stop();
    t.match(await ask(ada, HELLO), { type: 'response' }, 'an answer needs no database');
    t.equal((await history('ada')).status, 500);
    // The hook has waited for the database, which the answer did not.
    await until(() => program.output.includes('the hook onTurn threw'), 'the failed write to be logged');
    program.stop();
    const { output } = await program.ended;
    t.match(output, /A connection to Postgres was lost/);
  },
};
