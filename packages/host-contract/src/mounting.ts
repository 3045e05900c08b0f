import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { Readable } from 'node:stream';
import type { Test } from 'tap';
import { Client, gate as makeGate, plain, RawClient, textOf, to, upgrade, upgradeText } from './client.js';
import type { Declare, Host } from './host.js';
import { selfSigned } from './tls.js';
import { allGone, type WorldOptions, world } from './world.js';

/** An app that says what it was sent on `/form`: in its framework if it has one, otherwise where it listens for requests. */
function formSite(host: Host): WorldOptions {
  const isForm = ({ url }: IncomingMessage): boolean => url === '/form';
  async function* answer(request: IncomingMessage): AsyncGenerator<string> {
    let body = '';
    for await (const chunk of request) body += chunk;
    yield `${request.method} ${request.url} ${body}`;
  }
  if (host.unsupported.middleware === undefined) {
    return { before: (request) => (isForm(request) ? { page: Readable.from(answer(request)) } : { user: '' }) };
  }
  return {
    server: (listener) =>
      createServer((request, response) => {
        if (isForm(request)) Readable.from(answer(request)).pipe(response);
        else listener(request as never, response as never);
      }),
  };
}

/** A path that an app cannot have is refused by all that it is given to, at once and not with the first upgrade. */
export function refusesPaths(t: Test, given: readonly ((path: string) => unknown)[]): void {
  for (const path of ['ws', /^\/ws$/, ['/ws']]) {
    for (const use of given) {
      t.throws(() => use(path as string), { name: 'TypeError', message: 'path: must start with /' });
    }
  }
}

/** Servers, routers and prefixes that the relay can be mounted on. */
export function mounting(declare: Declare, host: Host): void {
  declare('it works on an http server that the app creates', ['own server'], async (t) => {
    const { connect, port } = await world(t, host, { server: (listener) => createServer(listener) });
    t.equal(await (await connect()).say('a'), 'a #1: hello');
    if (host.unsupported.refusals === undefined) {
      t.equal((await upgrade(port, '/ws', { origin: 'https://elsewhere.example' })).status, 403);
    }
  });

  declare(
    'it works on an https server that the app creates, whose pages are of the same origin',
    ['own server'],
    async (t) => {
      const { connect, port, app, agent } = await world(t, host, {
        scheme: 'wss',
        server: (listener) => createSecureServer(selfSigned, listener),
      });
      const client = await connect({ ca: selfSigned.cert, origin: `https://127.0.0.1:${port}` });
      t.equal(await client.say('a'), 'a #1: hello');
      const text = 'größer als ein Wort '.repeat(50);
      const frames = await client.exchange(to('a', text, { stream: true }));
      t.equal(frames.slice(0, -1).map(textOf).join(''), `a #2: ${text}`);
      const closing = app.close();
      t.equal((await client.closed).code, 1001);
      await closing;
      t.equal(agent.counters.open, 0);
    },
  );

  declare(
    "it can be mounted below a prefix, a router or a sub-app, and the 404 is still the app's",
    ['below'],
    async (t) => {
      const { connect, port, app, agent } = await world(t, host, {
        below: '/api/v1',
        relays: (endpoint) => [{ options: { endpoint } }, { path: '/other', options: { endpoint } }],
      });
      t.equal(await (await connect()).say('a'), 'a #1: hello');
      t.equal(await (await Client.open(`ws://127.0.0.1:${port}/api/v1/other`)).say('b'), 'b #1: hello');
      t.strictSame(
        app.relays.map((relay) => relay.stats().sessions),
        [1, 1],
      );
      if (host.unsupported['not found'] === undefined) {
        for (const path of ['/ws', '/api/v1', '/api/v1/nothing', '/api/v1/ws/api/v1/ws']) {
          t.equal((await upgrade(port, path)).status, 404, path);
        }
      }
      if (host.unsupported['plain GET'] === undefined) t.equal((await plain(port, '/api/v1/ws')).status, 426);
      await app.close();
      t.equal(agent.counters.open, 0);
    },
  );

  declare('a POST that offers another protocol (h2c) is a plain request of the app', ['other protocols'], async (t) => {
    const { port, log, agent } = await world(t, host, formSite(host));
    const offer = {
      upgrade: 'h2c',
      connection: 'Upgrade, HTTP2-Settings',
      'http2-settings': 'AAMAAABkAAQAoAAAAAIAAAAA',
    };
    const form = { ...offer, 'content-type': 'application/json', 'content-length': '9' };
    const next = 'GET /form HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
    const client = new RawClient(port, upgradeText('/form', form, 'POST'), '{"a":"b"}', next);
    await client.receives('POST /form {"a":"b"}');
    await client.receives('GET /form ');
    client.socket.end();
    await client.closed;
    if (host.unsupported['plain GET'] === undefined) t.equal((await plain(port, '/ws', offer)).status, 426);
    t.strictSame(log.lines, []);
    t.equal(agent.requests.length, 0);
  });

  declare('without attach, an upgrade is 500 and the error says what to call', ['attach'], async (t) => {
    const { port, log, app } = await world(t, host, {
      isForgetful: true,
      server: (listener) => createServer({ keepAliveTimeout: 1 }, listener),
    });
    t.equal((await upgrade(port, '/ws')).status, 500);
    t.equal(log.errors.length, 1);
    t.match(String(log.errors[0]), /attach\(server\)/);
    app.server.closeAllConnections();
  });

  declare(
    'an upgrade pipelined behind an unanswered request closes only its own connection',
    ['pipelining'],
    async (t) => {
      const gate = makeGate();
      const { port, connect, app } = await world(t, host, {
        server: (listener) =>
          createServer((request, response) => {
            if (request.url !== '/slow') return listener(request as never, response as never);
            void gate.opened.then(() => response.end('slow'));
          }),
      });
      const client = new RawClient(port, 'GET /slow HTTP/1.1\r\nhost: a\r\n\r\n', upgradeText('/ws'));
      const other = await connect();
      t.equal(await other.say('a'), 'a #1: hello', 'the process lives');
      gate.open();
      client.socket.end();
      await client.closed;
      t.notMatch(client.text, /101 Switching.*slow/s, 'no answer is put into the frames of another');
      other.socket.close();
      await other.closed;
      await allGone(app);
    },
  );
}
