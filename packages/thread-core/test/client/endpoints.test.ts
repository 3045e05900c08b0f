// Connections are kept to so many origins, and no more: an endpoint function may make them up.

import { deferred, withDeadline } from '@arc/test-client';
import t, { type Test } from 'tap';
import { Breaker } from '../../src/client/breaker.js';
import { EndpointRegistry } from '../../src/client/endpoint.js';
import type { RequestHandler } from '../../src/client/pooled-request.js';
import { answer, LAST_CHUNK, type Peer, STREAM_HEAD, serve } from './support.js';

/** A registry that keeps the connections to two origins, and a request to one of them. */
function two(t: Test): { endpoints: EndpointRegistry; post: (peer: Peer) => Promise<number> } {
  const endpoints = new EndpointRegistry(
    (url) => url,
    undefined,
    1,
    // Longer than the tests take: what is closed is not closed for being idle.
    { keepAliveTimeout: 60_000 },
    () => new Breaker(10, 500),
    2,
  );
  t.teardown(() => endpoints.destroy());
  const post = (peer: Peer): Promise<number> =>
    new Promise((resolve, reject) => {
      let size = 0;
      const handler: RequestHandler = {
        isSettled: false,
        onRequestStart: () => {},
        onResponseStart: () => {},
        onResponseData: (_controller, { length }) => {
          size += length;
        },
        onResponseEnd: () => resolve(size),
        onResponseError: (_controller, error) => reject(error),
      };
      const endpoint = endpoints.of(peer.url);
      if (endpoint !== undefined) endpoints.post(endpoint, [], '{}', handler);
    });
  return { endpoints, post };
}

t.test('the connections to the origin that was used longest ago are closed', async (t) => {
  const { post } = two(t);
  const [a, b, c] = [await serve(t, answer()), await serve(t, answer()), await serve(t, answer())];
  for (const peer of [a, b, a, c]) await post(peer);
  await b.until(() => b.open === 0);
  t.same([a.open, c.open], [1, 1]);
  await post(a);
  t.equal(a.connections, 1, 'the others stay open');
  await post(b);
  t.equal(b.connections, 2, 'what was closed is opened again');
  await c.until(() => c.open === 0);
  t.equal(a.open, 1);
});

t.test('requests that run or wait at an origin that is dropped are finished', async (t) => {
  const { post } = two(t);
  let end = (): void => {};
  const a = await serve(
    t,
    (socket) => {
      socket.write(STREAM_HEAD);
      end = () => socket.write(LAST_CHUNK);
    },
    answer(),
  );
  const [b, c] = [await serve(t, answer()), await serve(t, answer())];
  const running = post(a);
  const waiting = post(a);
  await a.until(() => a.requests.length === 1);
  await post(b);
  await post(c);
  end();
  t.equal(await running, 0);
  t.ok((await waiting) > 0);
  await a.until(() => a.open === 0);
  t.equal(a.connections, 1);
});

t.test('what still runs there ends with the client', async (t) => {
  const { endpoints, post } = two(t);
  const a = await serve(t, STREAM_HEAD);
  const [b, c] = [await serve(t, answer()), await serve(t, answer())];
  const running = post(a).catch((error: unknown) => error);
  await a.until(() => a.requests.length === 1);
  await post(b);
  await post(c);
  await endpoints.destroy();
  t.match(await running, { code: 'UND_ERR_DESTROYED' });
  await a.until(() => a.open === 0);
});

t.test('an endpoint that is no URL is named without its query and its password', async (t) => {
  const { endpoints } = two(t);
  for (const [given, shown] of [
    ['agents.example/arc?key=secret', 'agents.example/arc'],
    ['ftp://user:secret@agents.example/arc#secret', 'ftp://…@agents.example/arc'],
    ['user:secret@agents.example', '…@agents.example'],
    ['//secret@a//b', '//…@a//b'],
  ] as const) {
    const post = (): unknown => endpoints.of(given);
    t.throws(post, { message: `endpoint: expected an http(s) URL, got ${JSON.stringify(shown)}` });
  }
});

t.test(
  '[F-525] connections that are not needed any more are closed, though the last that waited was cancelled',
  async (t) => {
    const { endpoints, post } = two(t);
    const gate = deferred();
    const a = await serve(t, (socket) => gate.promise.then(() => void socket.write(String(answer()))));
    const answered = post(a);
    await a.until(() => a.requests.length === 1);
    const nothing = (): void => {};
    const waiting = {
      isSettled: false,
      onRequestStart: () => t.fail('it was cancelled'),
      ...{ onResponseStart: nothing, onResponseData: nothing, onResponseEnd: nothing, onResponseError: nothing },
    };
    endpoints.post(endpoints.resolve(a.url), [], '{}', waiting);
    waiting.isSettled = true;
    for (const other of [await serve(t, answer()), await serve(t, answer())]) await post(other);
    gate.resolve();
    await answered;
    await withDeadline(
      a.until(() => a.open === 0),
      'its connection to be closed',
      5000,
    );
  },
);
