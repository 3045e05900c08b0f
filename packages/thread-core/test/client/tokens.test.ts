// Where the bearer token comes from, and when it is requested again.
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { TokenSource } from '../../src/client/token.js';
import { AuthenticationError, TokenExpiredError } from '../../src/protocol/errors.js';
import {
  answer,
  chunk,
  DONE,
  drain,
  event,
  failure,
  heard,
  http,
  LAST_CHUNK,
  pair,
  piece,
  type Received,
  type Reply,
  refusal,
  START,
  STREAM,
  STREAM_HEAD,
  stream,
} from './support.js';

const bearers = (requests: Received[]): Array<string | undefined> =>
  requests.map(({ headers }) => headers.authorization);

/** A token function that gives t1, t2, …, and how often it was asked. */
function counting(): { token: () => string; asked: () => number } {
  let n = 0;
  return { token: () => `t${++n}`, asked: () => n };
}

/** Refuses every token but this one. */
const only =
  (good: string, refuse: Buffer, reply: Buffer = answer()): Reply =>
  (socket, { headers }) =>
    socket.write(headers.authorization === `Bearer ${good}` ? reply : refuse);

t.test('a token is a string, a function, or a function that takes its time', async (t) => {
  for (const token of ['abc', () => 'abc', async () => 'abc', () => Promise.resolve('abc')]) {
    const { peer, client } = await pair(t, answer(), { token });
    await client.chat.start(START);
    await client.chat.start(START);
    t.same(bearers(peer.requests), ['Bearer abc', 'Bearer abc']);
  }
});

t.test('a token function is called once, and again only when its token is refused', async (t) => {
  const { token, asked } = counting();
  const { client } = await pair(t, answer(), { token });
  await Promise.all([client.chat.start(START), client.chat.start(START)]);
  await client.chat.start(START);
  t.equal(asked(), 1);
});

/** Every way to refuse a token. */
const REFUSALS: Record<string, Buffer> = {
  'HTTP 401 without a body': http(401),
  'HTTP 401 with HTML': http(401, '<html>', { 'content-type': 'text/html' }),
  'HTTP 401 with any ARC error': refusal({ code: -44001, message: 'no' }, 401),
  '-44004 with HTTP 401': refusal({ code: -44004, message: 'expired' }, 401),
  '-44004 with HTTP 200': refusal({ code: -44004, message: 'expired' }),
  '-44005 with HTTP 500': refusal({ code: -44005, message: 'invalid' }, 500),
  '-44004 as the first event of a stream': stream(event('error', { error: { code: -44004, message: 'expired' } })),
  '-44005 as the first event, then done': stream(
    event('error', { code: -44005, message: 'invalid' }) + event('done', { done: true }),
  ),
  '-44004 as the last event, without its blank line': stream('event: error\ndata: {"code":-44004,"message":"expired"}'),
  '-44004 after a comment': stream(`: hello\n\n${event('error', { code: -44004, message: 'expired' })}`),
  'HTTP 401 with a stream': http(401, event('error', { code: -44001, message: 'no' }), {
    'content-type': 'text/event-stream',
  }),
};

for (const [how, refuse] of Object.entries(REFUSALS)) {
  t.test(`a token that is refused by ${how} is requested once more, and the request is sent again`, async (t) => {
    for (const ask of [START, STREAM]) {
      const { token, asked } = counting();
      const { peer, client } = await pair(
        t,
        only('t2', refuse, ask === STREAM ? stream(event('stream', piece('a')) + DONE) : answer()),
        { token },
      );
      const got = await client.chat.start(ask);
      if (Symbol.asyncIterator in got) {
        const { events, error } = await drain(got as never);
        t.equal(error, undefined);
        t.same(
          events.map(({ event }) => event),
          ['content', 'done'],
          'nothing of the refused answer is heard',
        );
      } else {
        t.equal(got.result.chat.chatId, 'c1');
      }
      t.same(bearers(peer.requests), ['Bearer t1', 'Bearer t2']);
      t.equal(peer.requests[0]?.body, peer.requests[1]?.body);
      t.equal(asked(), 2);
    }
  });

  t.test(`a token that is refused again by ${how} is an error`, async (t) => {
    const { token, asked } = counting();
    const { peer, client } = await pair(t, refuse, { token });
    const error = await failure(client.chat.start(START));
    t.ok([-44001, -44004, -44005, -41003].includes(error.code));
    t.equal(peer.requests.length, 2);
    t.equal(asked(), 2);
  });

  t.test(`a token that is a string is not sent again after ${how}`, async (t) => {
    const { peer, client } = await pair(t, refuse, { token: 'abc' });
    await failure(client.chat.start(START));
    const asked = await client.chat.start(STREAM).then(drain, (error: unknown) => ({ events: [], error }));
    t.ok(asked.error !== undefined || asked.events[0]?.event === 'error');
    t.equal(peer.requests.length, 2);
  });
}

t.test('errors that are not about the token do not ask for another', async (t) => {
  for (const code of [-44001, -44002, -44003, -44006, -44007, -43001]) {
    const { token, asked } = counting();
    const { client } = await pair(t, refusal({ code, message: 'no' }, 403), { token });
    t.equal((await failure(client.chat.start(START))).code, code);
    t.equal(asked(), 1);
  }
});

t.test('a token that is refused in the middle of a stream is an event like any other', async (t) => {
  const { token, asked } = counting();
  const { client } = await pair(t, stream(event('stream', piece('a')) + event('error', { code: -44004 })), { token });
  const { events } = await drain(await client.chat.start(STREAM));
  t.match(events, [{ event: 'content' }, { event: 'error', data: { code: -44004 } }]);
  t.equal(asked(), 1);
});

t.test('twenty calls that are refused at once share one refresh', async (t) => {
  const { token, asked } = counting();
  const held: Array<() => void> = [];
  const { peer, client } = await pair(
    t,
    (socket, { headers }) => {
      if (headers.authorization === 'Bearer t2') return socket.write(answer());
      // All twenty have arrived before the first is refused.
      held.push(() => socket.write(refusal({ code: -44004, message: 'expired' }, 401)));
      if (held.length === 20) for (const refuse of held) refuse();
    },
    { token: async () => token() },
  );
  await Promise.all(Array.from({ length: 20 }, () => client.chat.start(START)));
  t.equal(asked(), 2);
  t.equal(peer.requests.length, 40);
});

t.test('a call that is refused late takes the token that another one has got', async (t) => {
  const { token, asked } = counting();
  let refuseLate = (): void => {};
  const { peer, client } = await pair(
    t,
    (socket, { headers, json }) => {
      if (headers.authorization === 'Bearer t2') socket.write(answer());
      else if (json.traceId === 'late') refuseLate = () => socket.write(http(401));
      else socket.write(http(401));
    },
    { token },
  );
  const late = client.chat.start({ ...START, traceId: 'late' });
  await peer.until(() => peer.requests.length === 1);
  await client.chat.start(START);
  refuseLate();
  await late;
  t.equal(asked(), 2);
});

t.test('a token function that fails fails its call, and the next call calls it again', async (t) => {
  let fails = true;
  const cause = new Error('the token server is down');
  const token = () => {
    if (fails) throw cause;
    return 'abc';
  };
  for (const each of [token, async () => token()]) {
    fails = true;
    const { peer, client } = await pair(t, answer(), { token: each });
    const calls = [client.chat.start({ ...START, traceId: 'tr' }), client.chat.start(START)].map(failure);
    const [error, other] = await Promise.all(calls);
    t.ok(error instanceof AuthenticationError);
    t.match(error, {
      code: -44001,
      fromAgent: false,
      agentId: 'support',
      method: 'chat.start',
      traceId: 'tr',
      reason: 'No token for the agent could be had',
    });
    t.equal(error?.cause, cause);
    t.not(error, other, 'each call has an error of its own');
    t.equal(peer.connections, 0);
    fails = false;
    await client.chat.start(START);
    t.same(bearers(peer.requests), ['Bearer abc']);
  }
});

t.test('a token function that fails at a renewal fails its call, and the next call calls it again', async (t) => {
  let asked = 0;
  const token = () => {
    if (++asked === 2) throw new Error('down');
    return `t${asked}`;
  };
  const { client } = await pair(t, only('t3', refusal({ code: -44004, message: 'expired' })), { token });
  t.ok((await failure(client.chat.start(START))) instanceof AuthenticationError);
  t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
});

const NEVER = new Promise<string>(() => {});

/** Refuses what Eve says, as an agent does whose tool needs another login, and answers everybody else. */
const refusesEve: Reply = (socket, { json }) =>
  socket.write(json.traceId === 'eve' ? refusal({ code: -44001, message: 'log in' }, 401) : answer());
const EVE = { ...START, traceId: 'eve' };

t.test('[F-200] a token that was refused stays the token of others until there is a newer one', async (t) => {
  const failing = (): never => {
    throw new Error('429');
  };
  for (const next of [failing, () => NEVER]) {
    let asked = 0;
    const token = () => (++asked === 1 ? 't1' : next());
    const { peer, client } = await pair(t, refusesEve, { token, timeout: 1000 });
    const eve = failure(client.chat.start(EVE));
    await peer.until(() => asked === 2);
    await client.chat.start(START);
    t.ok((await eve) instanceof AuthenticationError);
    await client.chat.start(START);
    t.strictSame(bearers(peer.requests), ['Bearer t1', 'Bearer t1', 'Bearer t1']);
  }
});

t.test('[F-200] calls that are refused whatever their token is do not ask for one each', async (t) => {
  const { token, asked } = counting();
  const { client } = await pair(t, refusesEve, { token });
  for (let times = 0; times < 10; times += 1) t.equal((await failure(client.chat.start(EVE)))?.code, -44001);
  t.equal(asked(), 2);
});

t.test('a token is requested again if the last request for one was long ago, or failed', async (t) => {
  let asked = 0;
  const ask = (): string => {
    if (++asked === 2) throw new Error('down');
    return `t${asked}`;
  };
  const tokens = new TokenSource(ask, 10_000, 0);
  t.equal(await tokens.get(), 't1');
  await t.rejects(Promise.resolve(tokens.refresh('t1')), { message: 'down' });
  t.equal(tokens.get(), 't1');
  t.equal(await tokens.refresh('t1'), 't3');
  t.equal(await tokens.refresh('t3'), 't4');
  const patient = new TokenSource(() => `p${++asked}`);
  t.equal(await patient.get(), 'p5');
  t.equal(await patient.refresh('p5'), 'p6');
  t.equal(patient.refresh('p6'), undefined, 'it is new');
  t.equal(patient.refresh('p5'), 'p6', 'the refused one was older');
});

t.test('what a token function gives must be a token', async (t) => {
  for (const value of ['', undefined, null, 5, 'a\nb', 'ü']) {
    const { client } = await pair(t, answer(), { token: () => value as string });
    const error = await failure(client.chat.start(START));
    t.ok(error instanceof AuthenticationError, String(value));
    t.match(error.cause, { name: 'TypeError', message: /^token or sessionToken: / });
  }
});

t.test('a token function that returns the same token again is not called for ever', async (t) => {
  let asked = 0;
  const { peer, client } = await pair(t, refusal({ code: -44004, message: 'expired' }), {
    token: () => `same${asked++ && ''}`,
  });
  t.ok((await failure(client.chat.start(START))) instanceof TokenExpiredError);
  t.equal(peer.requests.length, 2);
});

t.test('the time-out also covers the wait for a token, and its error says so', async (t) => {
  const { peer, client } = await pair(t, answer(), { token: () => NEVER, timeout: 30 });
  for (const ask of [START, STREAM]) {
    const error = await failure(client.chat.start(ask));
    t.ok(error instanceof AuthenticationError);
    t.match(error, {
      code: -44001,
      fromAgent: false,
      reason: 'No token for the agent came within 30 ms',
      agentId: 'support',
      method: 'chat.start',
    });
  }
  t.equal(peer.connections, 0);
  t.match(client.endpoints(), [{ failures: 0 }], 'the agent is not to blame');
});

t.test('the error of a time-out says so, too, if it was the wait for a new token', async (t) => {
  let asked = 0;
  const token = () => (++asked === 1 ? 't1' : NEVER);
  const { client } = await pair(t, http(401), { token, timeout: 200 });
  t.match(await failure(client.chat.start(START)), { code: -44001, reason: /^No token for the agent came within/ });
  t.equal(asked, 2);
});

t.test('a client whose token function never settles can be closed', async (t) => {
  const { client } = await pair(t, answer(), { token: () => NEVER, timeout: 0 });
  const call = failure(client.chat.start(START));
  await client.close();
  t.match(await call, { reason: 'The client was closed' });
});

t.test('a token function that does not settle is called again, and the first token counts', async (t) => {
  const { peer, client } = await pair(t, answer());
  const given: Array<(token: string) => void> = [];
  // A result is not shared: each call asks for itself.
  const tokens = new TokenSource(() => new Promise((resolve) => given.push(resolve)), 0);
  const ask = (): Promise<unknown> => heard(client, {}, { tokens }).ended;
  void ask();
  const second = ask();
  const third = ask();
  await turn();
  t.equal(given.length, 3);
  given[1]?.('b');
  await second;
  await ask();
  t.same(bearers(peer.requests), ['Bearer b', 'Bearer b'], 'the next call takes it');
  given[2]?.('c');
  await third;
  given[0]?.('a');
  await turn();
  await ask();
  t.equal(bearers(peer.requests).at(-1), 'Bearer c', 'the answer to a later question is newer');
  t.equal(given.length, 3);
});

t.test('calls that begin while a token is requested wait for the same one', async (t) => {
  let asked = 0;
  const tokens = new TokenSource(() => {
    asked += 1;
    return NEVER;
  });
  t.equal(tokens.get(), tokens.get());
  t.equal(tokens.refresh('old'), tokens.get());
  await turn();
  t.equal(asked, 1);
});

t.test('what fails after a refused token does not have the refusal’s status', async (t) => {
  const { token } = counting();
  const { client } = await pair(t, [http(401), (socket) => socket.resetAndDestroy()], { token });
  t.match(await failure(client.chat.start(START)), { code: -41003, status: undefined, reason: /connection reset/ });
});

t.test('the time-out of a call also covers the answer after a refused stream', async (t) => {
  for (const streamIdleTimeout of [0, 10_000]) {
    const { token } = counting();
    const { client } = await pair(t, [stream(event('error', { code: -44004 })), () => {}], {
      token,
      timeout: 40,
      streamIdleTimeout,
    });
    t.match(await failure(client.chat.start(STREAM)), {
      code: -41006,
      reason: 'Agent "support" did not answer within 40 ms',
    });
  }
});

t.test('a refused stream that continues is cut off', async (t) => {
  const { token } = counting();
  const { peer, client } = await pair(
    t,
    [
      STREAM_HEAD + chunk(event('error', { code: -44004 })),
      Buffer.concat([Buffer.from(STREAM_HEAD), chunk(DONE), Buffer.from(LAST_CHUNK)]),
    ],
    { token },
  );
  t.match((await drain(await client.chat.start(STREAM))).events, [{ event: 'done' }]);
  await peer.until(() => peer.open === 1);
});

t.test('a call may have tokens of its own', async (t) => {
  const { peer, client } = await pair(t, answer(), { token: 'shared' });
  await heard(client, {}, { tokens: new TokenSource('own') }).ended;
  await client.chat.start(START);
  t.same(bearers(peer.requests), ['Bearer own', 'Bearer shared']);
});
