import {
  Client,
  frameBytes,
  heldAuthentication,
  gate as makeGate,
  plain,
  RawClient,
  to,
  until,
  upgrade,
  upgradeText,
} from './client.js';
import type { Declare, Host } from './host.js';
import { allGone, world } from './world.js';

const otherOrigin = { origin: 'https://elsewhere.example' };

/** Which connections are accepted. */
export function admission(declare: Declare, host: Host): void {
  const refuses = host.unsupported.refusals === undefined;

  declare('a page of another origin is refused with 403 before the upgrade [F-2]', ['refusals'], async (t) => {
    const { port, app } = await world(t, host, { options: { allowedOrigins: ['https://friend.example'] } });
    t.match(await upgrade(port, '/ws', otherOrigin), { status: 403, headers: { connection: 'close' } });
    for (const origin of ['null', 'not an origin', 'https://friend.example.elsewhere.example', '']) {
      t.equal((await upgrade(port, '/ws', { origin })).status, 403, origin);
    }
    for (const origin of ['https://friend.example', `http://127.0.0.1:${port}`]) {
      t.equal((await upgrade(port, '/ws', { origin })).status, 101, origin);
    }
    await allGone(app);
  });

  declare(
    'a client that is not authenticated is refused with 401, or the status of the error [F-2]',
    ['refusals'],
    async (t) => {
      const authenticate = async ({ headers }: { headers: Record<string, unknown> }): Promise<unknown> => {
        const who = String(headers.authorization);
        if (who === 'boom') throw new Error('the database is gone, and its password is 1234');
        if (/^\d+$/.test(who)) throw Object.assign(new Error('no'), { statusCode: Number(who) });
        return { null: null, undefined: undefined, false: false, zero: 0 }[who];
      };
      const { port, log, app } = await world(t, host, { options: { authenticate } });
      for (const authorization of ['null', 'undefined', 'false', 'boom', '200', '600']) {
        const { status, body, headers } = await upgrade(port, '/ws', { authorization });
        t.equal(status, 401, authorization);
        t.match(headers['content-type'], /^application\/json/);
        t.strictSame(JSON.parse(body), { error: 'Not authenticated' });
      }
      // Two of them have no name.
      for (const status of [403, 429, 499, 503, 599]) {
        const answer = await upgrade(port, '/ws', { authorization: String(status) });
        t.equal(answer.status, status);
        t.strictSame(JSON.parse(answer.body), { error: status < 500 ? 'no' : 'Authentication failed' });
      }
      t.equal((await upgrade(port, '/ws', { authorization: 'zero' })).status, 101, 'anything else is an identity');
      for (let count = 0; count < 10; count += 1) await upgrade(port, '/ws', { authorization: 'null' });
      t.equal(app.relays[0]?.stats().refused.authentication, 21);
      const refused = log.lines.filter((line) => line.includes('is not authenticated'));
      t.equal(refused.length, 10, 'no more lines of one kind a minute');
      t.ok(log.lines.length > refused.length, 'lines of another kind are none of them');
      await allGone(app);
    },
  );

  if (!refuses) {
    declare('refused connections are closed with 4403, 4401 or 1013 [F-51]', [], async (t) => {
      const { url, app } = await world(t, host, {
        options: { maxSessions: 1, authenticate: ({ headers }) => headers.authorization !== 'nobody' },
      });
      const code = async (headers: Record<string, string>): Promise<number> =>
        (await new Client(url, { headers }).closed).code;
      t.equal(await code(otherOrigin), 4403);
      t.equal(await code({ authorization: 'nobody' }), 4401);
      await allGone(app);
      await Client.open(url);
      t.equal(await code({}), 1013);
    });
  }

  declare('an unknown path is 404, for an upgrade as for a plain request', ['not found'], async (t) => {
    const { port, app } = await world(t, host);
    for (const path of [
      '/',
      '/w',
      '/wsx',
      '/ws/x',
      '/ws/.websocket',
      '/x/ws',
      '//ws',
      '/%2e/ws',
      '/nowhere?path=/ws',
    ]) {
      t.equal((await upgrade(port, path)).status, 404, path);
      t.equal((await plain(port, path)).status, 404, path);
    }
    await allGone(app);
  });

  declare('a slash at the end of the path makes no difference [F-330]', ['trailing slash'], async (t) => {
    const { port } = await world(t, host);
    const client = await Client.open(`ws://127.0.0.1:${port}/ws/`);
    t.equal(await client.say('a'), 'a #1: hello');
  });

  declare('the origin is compared with the host that a trusted proxy names', [], async (t) => {
    const proxied = { origin: 'https://app.example', 'x-forwarded-host': 'app.example' };
    const code = async (url: string): Promise<number> => (await new Client(url, { headers: proxied }).closed).code;
    const trusting = await world(t, host, { isBehindProxy: true });
    t.equal(await (await trusting.connect({ headers: proxied })).say('a'), 'a #1: hello');
    const direct = await world(t, host);
    t.equal(await code(direct.url), refuses ? 1006 : 4403, 'other clients may not name it');
    t.match(direct.log.lines, [/Origin.*allowedOrigins.*trustProxy/]);
  });

  declare(
    'a Host that is not in allowedHosts is refused, whatever its Origin (DNS rebinding) [F-331]',
    [],
    async (t) => {
      const { port, url, log } = await world(t, host, { options: { allowedHosts: ['127.0.0.1'] } });
      const rebound = { host: 'evil.example', origin: 'http://evil.example' };
      if (refuses) t.equal((await upgrade(port, '/ws', rebound)).status, 403);
      else t.equal((await new Client(url, { headers: rebound }).closed).code, 4403);
      t.match(log.lines, [/allowedHosts/]);
      t.equal((await upgrade(port, '/ws')).status, 101);
    },
  );

  declare('a subprotocol that the relay does not speak is never echoed: it may be a token [F-332]', [], async (t) => {
    const { port, log } = await world(t, host);
    const selected = async (offered: string): Promise<unknown> =>
      (await upgrade(port, '/ws', { 'sec-websocket-protocol': offered })).headers['sec-websocket-protocol'];
    t.equal(await selected('token-1234'), undefined);
    t.match(log.lines, [/subprotocols/]);
    t.notMatch(log.lines.join(), 'token-1234');
    t.equal(await selected('token-1234, arc-thread.v1'), 'arc-thread.v1');
    const other = await world(t, host, { options: { protocols: ['a', 'b'] } });
    const answer = await upgrade(other.port, '/ws', { 'sec-websocket-protocol': 'arc-thread.v1, b, a' });
    t.equal(answer.headers['sec-websocket-protocol'], 'b');
  });

  declare('with refuseWith close, refusals are close codes on every host [F-333]', [], async (t) => {
    const { url, app } = await world(t, host, {
      options: {
        refuseWith: 'close',
        maxSessions: 1,
        authenticate: ({ headers }) => headers.authorization !== 'nobody',
      },
    });
    const code = async (headers: Record<string, string>): Promise<number> => {
      const client = await Client.open(url, { headers });
      return (await client.closed).code;
    };
    t.equal(await code(otherOrigin), 4403);
    t.equal(await code({ authorization: 'nobody' }), 4401);
    const client = await Client.open(url);
    t.equal(await client.say('a'), 'a #1: hello');
    t.equal(await code({}), 1013);
    t.match(app.relays[0]?.stats().refused, { origin: 1, authentication: 1, capacity: 1 });
  });

  declare('an authenticate that never settles is refused after authenticateTimeout [F-334]', [], async (t) => {
    const { port, url } = await world(t, host, {
      options: { authenticateTimeout: 50, authenticate: () => new Promise(() => {}) },
    });
    if (refuses) t.equal((await upgrade(port, '/ws')).status, 503);
    else t.equal((await new Client(url).closed).code, 1013);
  });

  declare('a plain GET on the path is answered with 426 and the reason', ['plain GET'], async (t) => {
    const { port } = await world(t, host);
    const answer = await plain(port, '/ws');
    t.match(answer, { status: 426, headers: { upgrade: 'websocket', connection: /\bupgrade\b/i } });
    t.match(answer.body, /WebSocket/);
    const half = await plain(port, '/ws', { upgrade: 'websocket', connection: 'close' });
    t.equal(half.status, 426, 'as is one that names the protocol, and does not ask for it');
  });

  declare(
    'a query string is accepted, and a URL in the absolute form is authenticated like any other',
    [],
    async (t) => {
      const { port, app } = await world(t, host, {
        options: { authenticate: ({ url = '' }) => url.includes('key=1') },
      });
      t.equal((await upgrade(port, '/ws?key=1&next=/elsewhere?x#y')).status, 101);
      if (refuses) t.equal((await upgrade(port, '/ws?key=2')).status, 401);
      const isRouted = host.unsupported['not found'] === undefined;
      if (refuses && isRouted) t.equal((await upgrade(port, `http://127.0.0.1:${port}/ws?key=2`)).status, 401);
      await allGone(app);
    },
  );

  declare('an invalid handshake is refused, and its connection is closed', ['not found'], async (t) => {
    const { port, app, log } = await world(t, host);
    const bad: [headers: Record<string, string>, status: RegExp][] = [
      [{ 'sec-websocket-key': 'short' }, /^HTTP\/1.1 400/],
      [{ 'sec-websocket-version': '7' }, /^HTTP\/1.1 4(00|26)/],
      [{ upgrade: 'h2c', connection: 'upgrade, close' }, /^HTTP\/1.1 4(04|26)/],
    ];
    for (const [headers, status] of bad) {
      const client = new RawClient(port, upgradeText('/ws', headers));
      await client.receives('\r\n\r\n');
      client.socket.end();
      await client.closed;
      t.match(client.text, status);
    }
    const post = new RawClient(port, upgradeText('/ws', {}, 'POST'));
    await post.receives('\r\n\r\n');
    post.socket.end();
    t.match(post.text, /^HTTP\/1.1 40[45]/);
    await allGone(app);
    t.strictSame(log.lines, []);
  });

  declare('frames sent right after the handshake wait for authenticate, in order', [], async (t) => {
    const seen: string[] = [];
    const gate = makeGate();
    const { port, agent, app } = await world(t, host, {
      options: {
        authenticate: async () => {
          seen.push('asked');
          await gate.opened;
          return 'ann';
        },
        authorize: (identity) => {
          seen.push(String(identity));
          return true;
        },
      },
    });
    const frames = [1, 2, 3].map((id) => frameBytes(JSON.stringify(to('a', 'x'.repeat(id), { id }))));
    const client = new RawClient(port, upgradeText('/ws'), ...frames);
    await until(() => seen.length > 0, 'authenticate is called');
    t.equal(agent.counters.requests, 0, 'nothing is sent before authentication');
    gate.open();
    await client.receives('a #3: xxx');
    t.match(client.text, /a #1: x".*a #2: xx".*a #3: xxx"/s);
    t.strictSame(seen, ['asked', 'ann', 'ann', 'ann'], 'authenticate is called once');
    t.strictSame(
      [...(app.relays[0]?.sessions ?? [])].map(({ identity }) => identity),
      ['ann'],
    );
    client.socket.destroy();
  });

  declare(
    'a connection above maxSessions is refused with 503, until another one closes [F-2]',
    ['refusals'],
    async (t) => {
      const { port, connect, app } = await world(t, host, { options: { maxSessions: 2 } });
      const [first] = [await connect(), await connect()];
      t.equal((await upgrade(port, '/ws')).status, 503);
      first.socket.close();
      await first.closed;
      await until(() => app.relays[0]?.stats().sessions === 1, 'the first is gone');
      await (await connect()).say('a');
      t.equal((await upgrade(port, '/ws')).status, 503);
    },
  );

  declare('a burst while authenticate runs does not get past maxSessions', [], async (t) => {
    const held = heldAuthentication();
    const { url, app } = await world(t, host, { options: { maxSessions: 2, authenticate: held.authenticate } });
    const codes: number[] = [];
    const clients = Array.from({ length: 5 }, () => new Client(url));
    for (const client of clients) void client.closed.then(({ code }) => codes.push(code));
    await until(() => codes.length === 3, 'three are refused');
    t.strictSame(new Set(codes), new Set([refuses ? 1006 : 1013]));
    t.equal(held.asked, 2, 'authenticate is not called for those that have no slot');
    held.open();
    await until(() => app.relays[0]?.sessions.size === 2, 'two are connected');
    t.equal(app.relays[0]?.stats().refused.capacity, 3);
    t.equal(app.relays[0]?.stats().sessions, 2);
  });
}
