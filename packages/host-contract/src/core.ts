import { faults, startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import type { Test } from 'tap';
import {
  Client,
  frameBytes,
  plain,
  RawClient,
  streamedText,
  textOf,
  to,
  upgrade,
  upgradeText,
  withDeadline,
} from './client.js';

/** A server with a relay that runs somewhere else: as another process, behind a proxy, or in another language. */
export interface CoreHost {
  name: string;
  /**
   * Starts it in front of an agent server, which has the agents `support`, `finance` and `hr`. It listens on a port of
   * 127.0.0.1, and streams only if that is requested.
   */
  start(agent: { endpoint: string; token: string }): Promise<CoreServer>;
  /** How it refuses a page of another origin: by an HTTP status, or by a close code after the upgrade. Default `status`. */
  refusal?: 'status' | 'close';
  /** The path of a WebSocket of another library on the same server, which echoes text. Default: there is none. */
  echo?: string;
  /** The path of a plain page on the same server. Default: there is none. */
  page?: string;
  /** Whether an upgrade to an unknown path is not accepted. Default true. */
  hasOtherPaths?: boolean;
}

export interface CoreServer {
  /** The port that clients connect to. */
  port: number;
  /** The path of the relay. */
  path: string;
  /** Stops the server as its operator would. Resolves to the exit code of its process. */
  stop(): Promise<number | null>;
}

const TOKEN = 'secret-1234';

/**
 * The core of the protocol, for a server whose address is all that is known. One server and one agent run all of it, so
 * the tests compare numbers of chats, and never count from nought.
 */
export function runCoreContract(t: Test, host: CoreHost): void {
  t.test(`${host.name}: the core of the protocol`, async (t) => {
    const agent = await startTestAgent({ token: TOKEN });
    t.teardown(() => agent.close());
    const server = await host.start({ endpoint: agent.endpoint, token: TOKEN });
    let stopped: Promise<number | null> | undefined;
    const stop = (): Promise<number | null> => (stopped ??= server.stop());
    t.teardown(stop);
    const core: Core = { host, agent, server, stop, url: `ws://127.0.0.1:${server.port}${server.path}` };
    for (const part of [sends, frames, connections, coexistence, shutdown]) await part(t, core);
  });
}

interface Core {
  host: CoreHost;
  agent: TestAgent;
  server: CoreServer;
  stop(): Promise<number | null>;
  url: string;
}

/** Messages and their answers. */
async function sends(t: Test, { agent, url }: Core): Promise<void> {
  await t.test('the first message of a thread starts a chat, and later ones continue it [F-14]', async (t) => {
    const client = await Client.open(url);
    t.equal(await client.say('support', 'one'), 'support #1: one');
    t.equal(await client.say('support', 'two'), 'support #2: two');
    client.socket.terminate();
    await agent.waitFor('idle');
  });

  await t.test('agents and contexts have separate threads [F-13] [F-69]', async (t) => {
    const client = await Client.open(url);
    t.equal(await client.say('support'), 'support #1: hello');
    t.equal(await client.say('finance'), 'finance #1: hello');
    t.equal(await client.say('finance', 'hello', { context_id: 'second' }), 'finance #1: hello');
    t.equal(agent.counters.open, 3);
    client.socket.terminate();
    await agent.waitFor('idle');
  });

  await t.test('an answer is streamed if the message requests it [F-26] [F-88]', async (t) => {
    const client = await Client.open(url);
    const text = 'größer als ein Wort 🙂 '.repeat(20);
    for (const turn of [1, 2]) {
      const answer = await client.exchange(to('support', text, { stream: true, id: turn }));
      t.equal(streamedText(answer), `support #${turn}: ${text}`);
      t.match(answer.at(-1), { type: 'done', id: turn, agent_id: 'support' });
      t.ok(answer.length > 2);
    }
    client.socket.terminate();
    await agent.waitFor('idle');
  });

  await t.test('sends of one thread are answered in order, and those of others meanwhile [F-34] [F-35]', async (t) => {
    const client = await Client.open(url);
    const gate = agent.hold({ agentId: 'support' });
    client.send(to('support', 'one', { id: 1 }), to('support', 'two', { id: 2 }), to('hr', 'three', { id: 3 }));
    t.match(await client.next(), { type: 'response', id: 3 });
    gate.release();
    t.strictSame((await client.all(2)).map(textOf), ['support #1: one', 'support #2: two']);
    client.socket.terminate();
    await agent.waitFor('idle');
  });

  await t.test('a cancelled send ends with cancelled, and its request is aborted [F-16]', async (t) => {
    const client = await Client.open(url);
    await client.say('support');
    const { aborted } = agent.counters;
    agent.script('chat.message', faults.hang());
    client.send(to('support', 'never mind', { id: 'x' }));
    await agent.waitFor(({ counters }) => counters.running === 1);
    t.match(await client.exchange({ type: 'cancel', id: 'x' }), [{ type: 'cancelled', id: 'x', agent_id: 'support' }]);
    await agent.waitFor(({ counters }) => counters.aborted === aborted + 1);
    t.match(await client.say('support'), /^support #\d: hello$/, 'and the thread continues');
    t.equal(agent.counters.open, 1);
    client.socket.terminate();
    await agent.waitFor('idle');
  });

  await t.test('a thread can be ended, and the next message starts a new chat [F-19] [F-20] [F-21]', async (t) => {
    const client = await Client.open(url);
    await client.say('support');
    t.match(await client.exchange({ type: 'end', agent_id: 'support', id: 1 }), [{ type: 'ended', id: 1 }]);
    t.equal(agent.counters.open, 0);
    t.match(await client.exchange({ type: 'end', agent_id: 'support', id: 2 }), [{ type: 'ended', id: 2 }]);
    t.equal(await client.say('support', 'again'), 'support #1: again');
    client.socket.terminate();
    await agent.waitFor('idle');
  });

  await t.test('a lost chat is started again, and its answer says so [F-29] [F-99]', async (t) => {
    const client = await Client.open(url);
    await client.say('support');
    agent.forget();
    t.match(await client.ask(to('support', 'still there?')), { type: 'response', restarted: true });
    t.notOk('restarted' in (await client.ask(to('support'))));
    client.socket.terminate();
    await agent.waitFor('idle');
  });
}

/** What stands in frames. */
async function frames(t: Test, { agent, url }: Core): Promise<void> {
  await t.test(
    'an answer repeats the fields of its message, and the agent gets the trace id [F-11] [F-62]',
    async (t) => {
      const client = await Client.open(url);
      const fields = { id: 7, context_id: 'order-17', trace_id: 'trace-123' };
      const { response, ...frame } = await client.ask(to('support', 'hello', { ...fields, unknown: [1], extra: null }));
      t.strictSame(frame, { type: 'response', agent_id: 'support', ...fields });
      t.equal(agent.requests.at(-1)?.traceId, 'trace-123');
      t.equal(textOf({ response }), 'support #1: hello');
      client.socket.terminate();
      await agent.waitFor('idle');
    },
  );

  await t.test("an answer is the agent's own text, byte for byte [F-25]", async (t) => {
    const client = await Client.open(url);
    const odd = '{"n":12345678901234567890,"f":1.10,"u":"\\u00e9", "twice":1,"twice":2}';
    const body = `{"arc":"1.0","id":7, "result":{"type":"chat","chat":{"chatId":"c","message":${odd}}}}`;
    agent.script('chat.start', { status: 200, body, headers: { 'content-type': 'application/json' } });
    client.send(to('support', 'hello', { id: 1 }));
    t.ok((await client.text()).includes(`"response":${body}`));
    client.socket.terminate();
    await client.closed;
  });

  await t.test(
    'errors of the agent and of a frame are error frames, and a ping is answered [F-38] [F-124]',
    async (t) => {
      const client = await Client.open(url);
      agent.script('chat.start', { error: { code: -43_005, message: 'Not like this' } });
      t.match(await client.exchange(to('support')), [
        { type: 'error', data: { code: -43_005, message: 'Not like this' } },
      ]);
      for (const [frame, code] of [
        ['{', -32_700],
        ['[]', -32_600],
        [{ agent_id: 'support' }, -32_600],
        [{ agent_id: 'support', message: { role: 'user' } }, -32_600],
        [{ message: { role: 'user', parts: [] } }, -32_600],
        [{ type: 'nothing' }, -32_600],
        [{ type: 'cancel' }, -32_600],
        [to('support', 'hello', { id: 1.5 }), -32_600],
        [to('support', 'hello', { stream: 'yes' }), -32_600],
      ] as const) {
        t.match(
          await client.exchange(frame),
          [{ type: 'error', data: { code, message: String } }],
          JSON.stringify(frame),
        );
      }
      t.match(await client.exchange({ type: 'ping', id: 7 }), [{ type: 'pong', id: 7 }]);
      t.equal(await client.say('support'), 'support #1: hello');
      client.socket.terminate();
      await agent.waitFor('idle');
    },
  );

  for (const [what, code, frame] of [
    ['a binary frame is closed with 1003 [F-53]', 1003, frameBytes('{}', 2)],
    ['text that is not UTF-8 is closed with 1007 [F-55]', 1007, frameBytes(Buffer.from([0xc3, 0x28]))],
  ] as const) {
    await t.test(what, async (t) => {
      const { port, pathname } = new URL(url);
      const client = new RawClient(Number(port), upgradeText(pathname), frame);
      await client.receives(String.fromCharCode(code >> 8, code & 0xff));
      t.pass();
      client.socket.destroy();
      await client.closed;
    });
  }

  await t.test('a frame over maxFrameBytes is closed with 1009 [F-54]', async (t) => {
    const client = await Client.open(url);
    client.send(to('support', 'x'.repeat(1_048_576)));
    t.equal((await client.closed).code, 1009);
  });
}

/** Who is admitted, and what becomes of a client that leaves. */
async function connections(t: Test, { host, agent, server, url }: Core): Promise<void> {
  await t.test('a page of another origin is refused [F-2] [F-51]', async (t) => {
    const origin = 'https://elsewhere.example';
    if (host.refusal === 'close') t.equal((await new Client(url, { origin }).closed).code, 4403);
    else t.equal((await upgrade(server.port, server.path, { origin })).status, 403);
    const { host: own } = new URL(url);
    t.equal((await upgrade(server.port, server.path, { origin: `http://${own}` })).status, 101);
  });

  await t.test('the chats of a client that leaves are ended [F-44] [F-147]', async (t) => {
    const { ended } = agent.counters;
    const [polite, rude] = [await Client.open(url), await Client.open(url)];
    for (const client of [polite, rude]) await client.say('support');
    polite.socket.close();
    rude.socket.terminate();
    await agent.waitFor('idle');
    t.equal(agent.counters.ended, ended + 2);
  });
}

/** What else is on the server. */
async function coexistence(t: Test, { host, server, url }: Core): Promise<void> {
  const { echo, page, hasOtherPaths = true } = host;
  if (hasOtherPaths) {
    await t.test('an upgrade to an unknown path is not accepted', async (t) => {
      const client = new RawClient(server.port, upgradeText('/nowhere'));
      client.socket.end();
      await withDeadline(client.closed, 'the connection to be closed');
      t.notMatch(client.text, /^HTTP\/1.1 101/);
    });
  }
  if (page !== undefined) {
    await t.test("the server's own pages are answered as before", async (t) => {
      t.equal((await plain(server.port, page)).status, 200);
    });
  }
  if (echo !== undefined) {
    await t.test("another library's WebSockets work on the same server", async (t) => {
      const [client, other] = [await Client.open(url), await Client.open(`ws://127.0.0.1:${server.port}${echo}`)];
      for (const text of ['one', 'two']) {
        other.send(JSON.stringify({ event: 'echo', data: text }));
        t.match(JSON.parse(await other.text()), { data: text });
        t.match(await client.say('support', text), `: ${text}`);
      }
      other.socket.close();
      await other.closed;
      client.socket.terminate();
    });
  }
}

async function shutdown(t: Test, { agent, url, stop }: Core): Promise<void> {
  await t.test('stopping the server ends every chat, closes with 1001, and exits with 0 [F-46] [F-150]', async (t) => {
    const clients = await Promise.all(Array.from({ length: 3 }, () => Client.open(url)));
    await Promise.all(clients.map((client) => client.say('support')));
    t.equal(agent.counters.open, 3);
    t.equal(await stop(), 0);
    for (const { code } of await Promise.all(clients.map(({ closed }) => closed))) t.equal(code, 1001);
    t.match(agent.counters, { open: 0, running: 0 });
  });
}
