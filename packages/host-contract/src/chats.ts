import { faults } from '@arc/thread-core/testing';
import { Client, textOf, to } from './client.js';
import type { Declare, Host } from './host.js';
import { world } from './world.js';

/** What a connection is for. */
export function chats(declare: Declare, host: Host): void {
  declare('the first message of a thread starts a chat, and the second continues it', [], async (t) => {
    const { agent, connect } = await world(t, host);
    const client = await connect();
    t.equal(await client.say('support', 'one', { id: 1 }), 'support #1: one');
    t.equal(await client.say('support', 'two', { id: 2 }), 'support #2: two');
    t.match(agent.counters, { started: 1, open: 1 });
  });

  declare('each agent and each context has its own chat', [], async (t) => {
    const { agent, connect } = await world(t, host);
    const client = await connect();
    await client.say('a');
    await client.say('b');
    await client.say('b', 'other', { context_id: 'second' });
    t.equal(agent.counters.open, 3);
  });

  declare('an answer is streamed if the message requests it, also for a first message', [], async (t) => {
    const { connect } = await world(t, host);
    const client = await connect();
    for (const text of ['first words', 'second words']) {
      const types = (await client.exchange(to('a', text, { stream: true }))).map(({ type }) => type);
      t.ok(types.filter((type) => type === 'content').length > 1, types.join());
      t.equal(types.at(-1), 'done');
    }
  });

  declare('a cancelled send ends with cancelled, and the request to the agent is aborted', [], async (t) => {
    const { agent, connect } = await world(t, host);
    const client = await connect();
    await client.say('a');
    agent.script('chat.message', faults.hang());
    client.send(to('a', 'never mind', { id: 'x' }));
    await agent.waitFor(({ counters }) => counters.running === 1);
    t.strictSame(await client.exchange({ type: 'cancel', id: 'x' }), [{ type: 'cancelled', id: 'x', agent_id: 'a' }]);
    await agent.waitFor(({ counters }) => counters.aborted === 1);
  });

  declare('a thread can be ended, and the next message starts a new chat', [], async (t) => {
    const { agent, connect } = await world(t, host);
    const client = await connect();
    await client.say('a');
    t.match(await client.exchange({ type: 'end', agent_id: 'a' }), [{ type: 'ended', agent_id: 'a' }]);
    t.match(agent.counters, { started: 1, ended: 1, open: 0 });
    t.equal(await client.say('a', 'again'), 'a #1: again');
  });

  declare('an error of the agent and an invalid frame are answered with one error frame each', [], async (t) => {
    const { agent, connect } = await world(t, host);
    const client = await connect();
    agent.script('chat.start', { error: { code: -43_005, message: 'Not like this' } });
    t.match(await client.exchange(to('a')), [{ type: 'error', data: { code: -43_005, message: 'Not like this' } }]);
    t.match(await client.exchange({ agent_id: 'a' }), [{ type: 'error', data: { code: -32_600, message: /message/ } }]);
    t.match(await client.exchange({ type: 'ping', id: 7 }), [{ type: 'pong', id: 7 }]);
  });

  declare('the chats of a client that disconnects are ended', [], async (t) => {
    const { agent, connect } = await world(t, host);
    const polite = await connect();
    const rude = await connect();
    for (const client of [polite, rude]) await client.say('a');
    polite.socket.close();
    rude.socket.terminate();
    await agent.waitFor('idle');
    t.match(agent.counters, { started: 2, ended: 2 });
  });

  declare('several relays work in one app, each with its own path and agents', ['several relays'], async (t) => {
    const { agent, app, url, connect } = await world(t, host, {
      relays: (endpoint) => [
        { options: { endpoint } },
        { path: '/finance', options: { endpoint: `${endpoint}/finance`, replies: 'bare', agents: ['finance'] } },
        { path: '/ws/inner', options: { endpoint: `${endpoint}/inner` } },
      ],
    });
    t.equal(app.relays.length, 3);
    const [main, finance, inner] = [
      await connect(),
      await Client.open(url.replace(/ws$/, 'finance')),
      await Client.open(`${url}/inner`),
    ];
    t.equal(await main.say('a'), 'a #1: hello');
    finance.send(to('a'), to('finance'));
    t.match(await finance.next(), { type: 'error', data: { code: -44_002 } });
    t.equal(textOf({ response: await finance.next() }), 'finance #1: hello');
    t.equal(await inner.say('a'), 'a #1: hello');
    t.strictSame(agent.requests.map(({ path }) => path.replace('/arc', '')).sort(), ['', '/finance', '/inner']);
    t.strictSame(
      app.relays.map((relay) => relay.stats().sessions),
      [1, 1, 1],
    );
  });
}
