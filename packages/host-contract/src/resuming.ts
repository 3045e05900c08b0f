import { type Client, type Frame, textOf, to, until } from './client.js';
import type { Declare, Host } from './host.js';
import { type World, world } from './world.js';

/** A new connection that asks for a session, and the relay's `ready`. */
async function resume({ connect }: World, fields: Record<string, unknown> = {}): Promise<[Client, Frame]> {
  const client = await connect();
  client.send({ type: 'resume', ...fields });
  return [client, await client.next()];
}

/** Sessions that outlive their connection. */
export function resuming(declare: Declare, host: Host): void {
  declare('a session outlives a lost connection, is taken over, and ends when its grace is over', [], async (t) => {
    const all = await world(t, host, { options: { resume: { grace: 1000 } } });
    const { agent, app } = all;
    const [relay] = app.relays;
    const [first, { session }] = await resume(all);
    first.send(to('a', 'one', { id: 1 }));
    t.match(await first.next(), { seq: 1, id: 1 });
    const gate = agent.hold();
    first.send(to('a', 'two', { id: 2 }));
    await gate.arrived;
    first.socket.terminate();
    const [second, resumed] = await resume(all, { session, seq: 1, sent: 2 });
    t.match(resumed, { type: 'ready', resumed: true, session, got: 2, pending: [2] });
    const [third, taken] = await resume(all, { session, seq: 1, sent: 2 });
    t.match(taken, { resumed: true, pending: [2] });
    t.equal((await second.closed).code, 4409);
    gate.release();
    const answer = await third.next();
    t.match(answer, { seq: 2, id: 2 });
    t.equal(textOf(answer), 'a #2: two', 'the same chat');
    third.socket.terminate();
    await agent.waitFor('idle');
    await until(() => relay?.stats().sessions === 0, 'the session to end');
    t.match((await resume(all, { session, seq: 2, sent: 2 }))[1], { resumed: false, reason: 'expired' });
  });
}
