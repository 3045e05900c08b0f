import { Random } from '@arc/test-client';
import type { RelayFrame } from '@arc/thread-protocol';
import t from 'tap';
import { WebSocket } from 'ws';
import { InterruptedError, SessionLostError } from '../src/index.js';
import { idOf, pieces } from './resume-server.js';
import { scripted } from './scripted.js';
import { failure, state, until } from './world.js';

const SEED = Number(process.env.ARC_TEST_SEED ?? Date.now() % 1_000_000);
const COUNT = 200;
const WHOLE = Array.from({ length: COUNT }, (_, n) => `${n} `).join('');

t.test('a session is requested before anything is sent, and the state says that it can be resumed', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => pieces(session, frame, 3);
  const turn = client.send('support', 'Hello', { stream: true });
  t.equal(await turn.text(), '0 1 2 ');
  t.strictSame(server.resumes, [{ type: 'resume' }]);
  t.match(client.state, { status: 'open', resumable: true, resumed: false });
  t.equal(client.resumable, true);
});

t.test('frames are acknowledged by number, by size and by time', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => pieces(session, frame, 10);
  await client.send('support', 'Hello').result;
  await until(() => server.session.acks.at(-1) === 11);
  t.strictSame(server.session.acks.slice(0, 2), [4, 8]);
  await until(() => server.session.journal.length === 0);
});

t.test(`a stream that is cut at random bytes arrives once and in order (ARC_TEST_SEED=${SEED})`, async (t) => {
  const random = new Random(SEED);
  const { server, proxy, client } = await scripted(t);
  server.onFrame = (session, frame) => pieces(session, frame, COUNT);
  // A cut before the first `ready` would leave a session behind that the client knows nothing of.
  await state(client, 'open');
  let cuts = 40;
  proxy.cutAfter = () => (cuts-- > 0 ? 250 + random.below(700) : Number.POSITIVE_INFINITY);
  proxy.cut();
  const turn = client.send('support', 'Hello', { stream: true });
  let text = '';
  for await (const piece of turn) text += piece.text;
  t.equal(text, WHOLE);
  t.match(await turn.result, { count: COUNT });
  t.equal(server.handled.length, 1, 'the message was handled once');
  t.ok(proxy.accepted > 10, `${proxy.accepted} connections`);
  t.equal(server.sessions.size, 1);
});

t.test('what did not arrive is sent again, once, and before anything new', async (t) => {
  const { server, proxy, client } = await scripted(t);
  await state(client, 'open');
  proxy.silence();
  const first = client.send('support', 'a');
  const second = client.send('support', 'b');
  proxy.cut();
  await state(client, 'waiting');
  const third = client.send('support', 'c');
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  await Promise.all([first, second, third].map(({ result }) => result));
  t.strictSame(server.handled, [first.id, second.id, third.id]);
  t.match(server.resumes.at(-1), { session: 'secret-1', seq: 0, sent: 2 });
});

t.test(
  'a send that arrived, is not pending, and has no last frame was interrupted, once the replay is over',
  async (t) => {
    const { server, proxy, client } = await scripted(t);
    const events: string[] = [];
    client.on('interrupted', ({ id }) => events.push(id));
    server.onFrame = (session, frame) => session.emit({ type: 'content', id: idOf(frame), data: 'begun' });
    const turn = client.send('support', 'a', { stream: true });
    await until(() => server.handled.length === 1);
    server.session.pending.clear();
    proxy.cut();
    const error = await failure(turn.result);
    t.ok(error instanceof InterruptedError);
    t.match(error, { code: 'INTERRUPTED', mayHaveReached: true });
    t.strictSame(events, [turn.id]);
    t.equal(server.handled.length, 1, 'the client does not repeat it');
  },
);

t.test('an answer that is complete in the replay is no interruption', async (t) => {
  const { server, proxy, client } = await scripted(t);
  client.on('interrupted', () => t.fail('nothing was interrupted'));
  const turn = client.send('support', 'a', { stream: true });
  await until(() => server.handled.length === 1);
  proxy.cut();
  await until(() => server.session.socket === undefined);
  for (const frame of server.session.frames) pieces(server.session, frame, 50);
  t.equal((await turn.text()).split(' ').length, 51);
});

t.test('an end that arrived and was not answered is repeated [F-402]', async (t) => {
  const { server, proxy, client } = await scripted(t);
  const ended = client.end('support');
  await until(() => server.sessions.size === 1 && server.session.frames.length === 1);
  server.onFrame = (session, frame) => {
    if (frame.type === 'end') session.emit({ type: 'ended', id: frame.id ?? '', agent_id: frame.agent_id });
  };
  proxy.cut();
  await ended;
  t.strictSame(
    server.session.frames.map(({ type }) => type),
    ['end', 'end'],
  );
});

t.test('a thread that was begun again before its end was answered stays open [F-506]', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  await client.send('support', 'a').result;
  const ended = client.end('support');
  await client.send('support', 'b').result;
  for (const frame of server.session.frames) {
    if (frame.type === 'end') server.session.emit({ type: 'ended', id: frame.id ?? '', agent_id: frame.agent_id });
  }
  await ended;
  t.strictSame(client.threads(), [{ agentId: 'support', contextId: undefined }]);
});

t.test(
  'ends are repeated before messages that were never sent, which follow them in their thread [F-515]',
  async (t) => {
    const { server, proxy, client } = await scripted(t);
    const lost = client.send('support', 'lost');
    const ends = [client.end('support'), client.end('sales')];
    await until(() => server.sessions.size === 1 && server.session.frames.length === 3);
    server.session.pending.clear();
    // The replay is complete with this frame.
    server.session.emit({ type: 'content', id: 'of another turn', data: 'a' });
    server.onFrame = (session, frame) => {
      if (frame.type === 'end') session.emit({ type: 'ended', id: frame.id ?? '', agent_id: frame.agent_id });
      else pieces(session, frame, 1);
    };
    proxy.cut();
    await state(client, 'waiting');
    const turns = [client.send('support', 'a')];
    client.on('interrupted', ({ id }) => {
      if (id === lost.id) turns.push(client.send('support', 'lost, once more'));
    });
    await Promise.all([...ends, failure(lost.result), state(client, 'open')]);
    await Promise.all(turns.map(({ result }) => result));
    t.equal(turns.length, 2);
    const [, , , ...later] = server.session.frames;
    t.strictSame(
      later.map((frame) => ('message' in frame ? frame.id : frame.type)),
      ['end', 'end', ...turns.map(({ id }) => id)],
    );
  },
);

t.test('a client that is closed when it hears of an interrupted turn stays closed', async (t) => {
  const { server, proxy, client } = await scripted(t);
  const lost = client.send('support', 'lost');
  await until(() => server.sessions.size === 1 && server.session.frames.length === 1);
  server.session.pending.clear();
  const states: string[] = [];
  client.on('state', ({ status }) => states.push(status));
  client.on('interrupted', () => client.close());
  proxy.cut();
  await failure(lost.result);
  await client.close();
  t.equal(states.at(-1), 'closed');
  t.equal(client.state.status, 'closed');
});

t.test('a lost session fails sent turns, keeps unsent ones, and reports why', async (t) => {
  const { server, proxy, client } = await scripted(t);
  const lost: SessionLostError[] = [];
  client.on('lost', (error) => lost.push(error));
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  await client.send('support', 'a').result;
  server.onFrame = () => {};
  const sent = client.send('support', 'b');
  const ending = client.end('finance');
  await until(() => server.handled.length === 2);
  server.sessions.clear();
  proxy.cut();
  await state(client, 'waiting');
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  const unsent = client.send('support', 'c');
  const error = await failure(sent.result);
  t.ok(error instanceof SessionLostError);
  t.match(error, { code: 'SESSION_LOST', reason: 'unknown', mayHaveReached: true });
  await ending;
  await unsent.result;
  t.equal(unsent.restarted, true);
  t.equal(lost.length, 1);
  t.match(client.state, { status: 'open', resumed: false });
});

t.test('a session that is gone with no thread and nothing outstanding is no loss', async (t) => {
  const { server, proxy, client } = await scripted(t);
  client.on('lost', () => t.fail('nothing was lost'));
  await state(client, 'open');
  server.sessions.clear();
  proxy.cut();
  await state(client, 'waiting');
  await state(client, 'open');
});

t.test('4409 stops the client: a newer connection has the session', async (t) => {
  const { server, client } = await scripted(t);
  await state(client, 'open');
  const turn = client.send('support', 'a');
  await until(() => server.handled.length === 1);
  server.session.socket?.close(4409, 'taken over');
  t.match(await failure(turn.result), { code: 4409, reason: 'taken over', mayHaveReached: true });
  t.equal(client.state.status, 'closed');
  t.equal(server.resumes.length, 1);
});

t.test('a frame that is missing makes the client resume from the last one that it has', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => {
    const { socket } = session;
    session.socket = undefined;
    session.emit({ type: 'content', id: idOf(frame), data: 'a' });
    session.socket = socket;
    pieces(session, frame, 2);
  };
  t.equal(await client.send('support', 'a').text(), 'a0 1 ');
  t.equal(server.resumes.length, 2);
});

t.test('a frame of an unknown type is ignored, and has its number [F-432]', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => {
    session.emit(JSON.parse('{"type":"novelty","data":1}') as RelayFrame);
    session.emit({ ...(JSON.parse('{"type":"novelty"}') as RelayFrame), ...{ id: idOf(frame) } });
    pieces(session, frame, 2);
  };
  t.equal(await client.send('support', 'a').text(), '0 1 ');
  t.equal(server.resumes.length, 1, 'nothing is missing');
});

t.test('a frame that arrives twice is handled once', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => {
    session.emit({ type: 'content', id: idOf(frame), data: 'a' });
    session.socket?.send(session.journal[0]?.text ?? '');
    pieces(session, frame, 1);
  };
  t.equal(await client.send('support', 'a').text(), 'a0 ');
});

t.test(
  'wake() notices a connection whose peer has disappeared silently, and the old socket does not matter',
  async (t) => {
    const sockets: WebSocket[] = [];
    class Recorded extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        sockets.push(this);
      }
    }
    const { server, proxy, client } = await scripted(t, { WebSocket: Recorded });
    await state(client, 'open');
    proxy.silence();
    const turn = client.send('support', 'a', { stream: true });
    client.wake();
    server.onFrame = (session, frame) => pieces(session, frame, 1);
    t.equal(await turn.text(), '0 ');
    t.match(client.state, { status: 'open', resumed: true });
    t.equal(sockets.length, 2);
    server.onFrame = () => {};
    const next = client.send('support', 'b', { stream: true });
    await until(() => server.handled.length === 2);
    const late = { type: 'content', id: next.id, data: 'late', seq: server.session.seq + 1 };
    sockets[0]?.emit('message', Buffer.from(JSON.stringify(late)), false);
    sockets[0]?.emit('close', 4409, Buffer.from('taken over'));
    t.match(client.state, { status: 'open', resumed: true });
    for (const frame of server.session.frames.slice(-1)) pieces(server.session, frame, 2);
    t.equal(await next.text(), '0 1 ');
  },
);

t.test('a turn that is being cancelled ends with its connection', async (t) => {
  const { server, proxy, client } = await scripted(t);
  const turn = client.send('support', 'a', { stream: true });
  await until(() => server.handled.length === 1);
  proxy.silence();
  turn.cancel();
  t.equal(turn.settled, false);
  proxy.cut();
  t.match(await failure(turn.result), { code: 'CANCELLED' });
  await until(() => server.session.frames.at(-1)?.type === 'cancel');
});
