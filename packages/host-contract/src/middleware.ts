import { Readable } from 'node:stream';
import { Client, heldAuthentication, RawClient, until, upgrade, upgradeText } from './client.js';
import type { Declare, Host } from './host.js';
import { allGone, world } from './world.js';

/** The app's own middleware, hooks and error handlers, all before the upgrade. */
export function middleware(declare: Declare, host: Host): void {
  declare('authenticate gets what middleware added to the request', ['context'], async (t) => {
    const { url, port, app } = await world(t, host, {
      before: ({ headers }) => ({ user: /user=(\w+)/.exec(headers.cookie ?? '')?.[1] ?? '' }),
      options: { authenticate: (_request, context) => host.userOf(context) || null },
    });
    const client = await Client.open(url, { headers: { cookie: 'user=ann' } });
    await client.say('a');
    t.strictSame(
      [...(app.relays[0]?.sessions ?? [])].map(({ identity }) => identity),
      ['ann'],
    );
    if (host.unsupported.refusals === undefined) t.equal((await upgrade(port, '/ws', { cookie: 'user=' })).status, 401);
    else t.equal((await new Client(url, { headers: { cookie: 'user=' } }).closed).code, 4401);
  });

  declare('if middleware answers an upgrade, the client gets only that answer', ['middleware'], async (t) => {
    let asked = 0;
    const { port, app, log } = await world(t, host, {
      before: () => 401,
      options: { authenticate: () => ++asked },
    });
    const answer = await upgrade(port, '/ws');
    t.equal(answer.status, 401);
    t.match(answer.body, /The app says no/);
    t.equal(asked, 0);
    t.strictSame(log.lines, []);
    await allGone(app);
  });

  declare("an error of middleware is answered by the app's error handler", ['middleware'], async (t) => {
    const { port, app, log } = await world(t, host, {
      before: () => Object.assign(new Error('short and stout'), { statusCode: 418 }),
    });
    const answer = await upgrade(port, '/ws');
    t.equal(answer.status, 418);
    t.match(answer.body, /The app handles: short and stout/);
    t.equal(log.lines.length, 1);
    await allGone(app);
  });

  declare('middleware that throws does not end the process', ['middleware'], async (t) => {
    const { port, app } = await world(t, host, {
      before: () => {
        throw new Error('thrown');
      },
    });
    t.equal((await upgrade(port, '/ws')).status, 500);
    await allGone(app);
  });

  declare('an answer of 1 MiB to an upgrade arrives completely', ['middleware'], async (t) => {
    const pieces = Array.from({ length: 32 }, () => Buffer.alloc(32 * 1024, 'x'));
    const { port, app } = await world(t, host, { before: () => ({ page: Readable.from(pieces) }) });
    t.equal((await upgrade(port, '/')).body.length, 1024 * 1024);
    await allGone(app);
  });

  declare(
    'a client that disconnects while middleware runs leaves no connection and no session',
    ['middleware'],
    async (t) => {
      const held = heldAuthentication();
      const { port, app, log } = await world(t, host, { options: { authenticate: held.authenticate } });
      const reset = new RawClient(port, upgradeText('/ws'));
      const halfClosed = new RawClient(port, upgradeText('/ws'));
      await until(() => held.asked === 2, 'authenticate is called');
      reset.socket.resetAndDestroy();
      halfClosed.socket.end();
      await reset.closed;
      held.open();
      await halfClosed.closed;
      await allGone(app);
      t.equal(app.relays[0]?.stats().sessions, 0);
      t.ok(log.lines.length <= 2, log.lines.join());
    },
  );
}
