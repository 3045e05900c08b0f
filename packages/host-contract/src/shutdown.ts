import { Client, heldAuthentication, RawClient, to, until, upgradeText, withDeadline } from './client.js';
import type { App, Declare, Host } from './host.js';
import { connections, world } from './world.js';

/** Some frameworks close their relays a little later than the app asks for it, and accept upgrades until then. */
function closingBegun({ relays }: App): Promise<void> {
  return until(() => relays.every(({ isClosing }) => isClosing), 'the relays are being closed');
}

/** Shutdown, with the framework's own close. */
export function shutdown(declare: Declare, host: Host): void {
  declare('closing the app ends every chat, closes with 1001, and resolves, also if called twice', [], async (t) => {
    const { agent, app, connect, log } = await world(t, host);
    const clients = await Promise.all(Array.from({ length: 10 }, () => connect()));
    await Promise.all(clients.map((client) => client.say('a')));
    await Promise.all(clients.map((client) => client.say('b')));
    t.equal(agent.counters.open, 20);
    await withDeadline(Promise.all([app.close(), app.close()]), 'the app to close twice at once');
    t.match(agent.counters, { started: 20, ended: 20, open: 0 });
    for (const { code } of await Promise.all(clients.map(({ closed }) => closed))) t.equal(code, 1001);
    await withDeadline(app.close(), 'the app to close again');
    const [summary, same] = await Promise.all(app.relays.flatMap((relay) => [relay.close(), relay.close()]));
    t.equal(summary, same);
    t.match(summary, { sessions: 10, ended: 20, failed: 0 });
    t.strictSame(log.lines, []);
  });

  declare('a client that never answers the closing handshake does not delay the shutdown', [], async (t) => {
    const { agent, app, port, connect } = await world(t, host);
    const [client, silent] = [await connect(), new RawClient(port, upgradeText('/ws'))];
    await silent.receives('\r\n\r\n');
    await client.say('a');
    await withDeadline(app.close(), 'the app to close');
    t.equal((await client.closed).code, 1001);
    t.equal(agent.counters.open, 0);
    silent.socket.destroy();
  });

  declare('a running send is answered before its connection is closed', [], async (t) => {
    const { agent, app, connect } = await world(t, host);
    const client = await connect();
    const gate = agent.hold('chat.start');
    client.send(to('a'));
    await gate.arrived;
    const closing = app.close();
    gate.release();
    t.match(await client.next(), { type: 'response' });
    t.equal((await client.closed).code, 1001);
    await closing;
    t.equal(agent.counters.open, 0);
  });

  declare('a send that is not finished within drainTimeout is cancelled', [], async (t) => {
    const { agent, app, connect } = await world(t, host, { options: { drainTimeout: 50 } });
    const client = await connect();
    const gate = agent.hold('chat.start');
    client.send(to('a'));
    await gate.arrived;
    const closing = app.close();
    t.match(await client.next(), { type: 'cancelled' });
    t.equal((await client.closed).code, 1001);
    gate.release();
    await closing;
    t.equal(agent.counters.open, 0);
  });

  declare(
    'an upgrade that authenticate holds when the app closes is not accepted, and delays nothing',
    [],
    async (t) => {
      const held = heldAuthentication();
      let accepted = 0;
      const { app, url, port } = await world(t, host, {
        options: { authenticate: held.authenticate, hooks: { onOpen: () => void accepted++ } },
      });
      const polite = new Client(url);
      const silent = new RawClient(port, upgradeText('/ws'));
      await until(() => held.asked === 2, 'authenticate is called for both');
      const closing = app.close();
      await closingBegun(app);
      held.open();
      await withDeadline(closing, 'the app to close');
      t.ok([1001, 1006].includes((await polite.closed).code), 'with 1001, or refused');
      silent.socket.destroy();
      t.equal(accepted, 0);
      t.equal(app.relays[0]?.sessions.size, 0);
    },
  );

  declare('an upgrade that comes while a send is still running is refused', [], async (t) => {
    let accepted = 0;
    const { agent, app, connect, url, port } = await world(t, host, {
      options: { hooks: { onOpen: () => void accepted++ } },
    });
    const client = await connect();
    const kept = new RawClient(port, 'GET /ws HTTP/1.1\r\nhost: a\r\n');
    await until(async () => (await connections(app)) === 2, 'both are connected');
    const gate = agent.hold('chat.start');
    client.send(to('a'));
    await gate.arrived;
    const closing = app.close();
    await closingBegun(app);
    const late = new Client(url);
    // This one was there before, and its request is complete only now.
    kept.socket.write(upgradeText('/ws').replace(/^.*\r\n.*\r\n/, ''));
    t.ok([1001, 1006].includes((await late.closed).code), 'with 1001, refused, or not connected at all');
    gate.release();
    t.match(await client.next(), { type: 'response' });
    await withDeadline(closing, 'the app to close');
    kept.socket.end();
    await withDeadline(kept.closed, 'the connection that was there before to be closed');
    t.equal(accepted, 1);
    if (host.unsupported.refusals === undefined) t.match(kept.text, /^HTTP\/1.1 503/);
    else t.match(kept.text, 'The server is shutting down');
    t.equal(agent.counters.open, 0);
    t.match(agent.counters, { started: 1, ended: 1 });
  });
}
