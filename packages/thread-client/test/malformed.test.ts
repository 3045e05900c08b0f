// A relay, or what stands in for one, that sends frames which are none.
import t from 'tap';
import { pieces } from './resume-server.js';
import { scripted } from './scripted.js';
import { failure, state, until } from './world.js';

t.test('a ready without rules for acknowledgements is as good as any other [F-404]', async (t) => {
  for (const ack of [undefined, null, {}, 5]) {
    const { server, client } = await scripted(t);
    server.onReady = (ready) => ({ ...ready, ack });
    server.onFrame = (session, frame) => pieces(session, frame, 10);
    t.equal((await client.send('support', 'a').text()).split(' ').length, 11);
    await until(() => server.session.journal.length === 0);
    t.equal(server.resumes.length, 1);
  }
});

t.test('an error in place of ready, whatever is in it, begins a session that is not resumed [F-404]', async (t) => {
  for (const data of [undefined, null, 5, { code: -32_603 }]) {
    const { server, client } = await scripted(t);
    server.onReady = () => ({ type: 'error', data });
    server.onFrame = (session, frame) => pieces(session, frame, 1);
    t.equal(await client.send('support', 'a').text(), '0 ');
    t.match(client.state, { status: 'open', resumable: false });
  }
});

t.test('an error without data is an internal error, of its turn or of none [F-404]', async (t) => {
  for (const data of [undefined, null, 5, {}]) {
    const { server, client } = await scripted(t);
    const errors: unknown[] = [];
    client.on('error', (error) => errors.push(error));
    server.onFrame = (session, frame) => {
      const error = { type: 'error', data } as never as { type: 'error'; data: { code: number; message: string } };
      session.emit(error);
      session.emit({ ...error, ...('id' in frame && { id: frame.id }) });
    };
    t.match(await failure(client.send('support', 'a').result), { name: 'AgentError', code: -32_603 });
    t.match(errors, [{ name: 'AgentError', code: -32_603 }]);
    t.equal(server.resumes.length, 1);
  }
});

t.test('a ready that does not say what is pending interrupts what is not answered [F-404]', async (t) => {
  for (const pending of [undefined, null, 5]) {
    const { server, proxy, client } = await scripted(t);
    const turn = client.send('support', 'a');
    await until(() => server.handled.length === 1);
    server.onReady = (ready) => ({ ...ready, pending });
    proxy.cut();
    t.match(await failure(turn.result), { code: 'INTERRUPTED' });
    server.onFrame = (session, frame) => pieces(session, frame, 1);
    t.equal(await client.send('support', 'b').text(), '0 ', 'the session continues');
  }
});

t.test('a ready that counts frames wrongly loses the session, and nothing waits for ever [F-404]', async (t) => {
  for (const got of [undefined, 'x', 7]) {
    const { server, proxy, client } = await scripted(t);
    const turn = client.send('support', 'a');
    await until(() => server.handled.length === 1);
    server.onReady = (ready) => (ready.resumed === true ? { ...ready, got } : ready);
    proxy.cut();
    t.match(await failure(turn.result), { code: 'SESSION_LOST', mayHaveReached: true });
    server.onFrame = (session, frame) => pieces(session, frame, 1);
    t.equal(await client.send('support', 'b').text(), '0 ');
    t.equal(server.handled.length, 2);
  }
});

t.test('an acknowledgement without a number acknowledges nothing [F-404]', async (t) => {
  const { server, proxy, client } = await scripted(t);
  await state(client, 'open');
  for (const seq of [undefined, null, 'x']) server.session.socket?.send(JSON.stringify({ type: 'ack', seq }));
  proxy.silence();
  const turn = client.send('support', 'a');
  proxy.cut();
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  t.equal(await turn.text(), '0 ');
});

t.test(
  'a frame that cannot be read loses the session, is reported, and the next message is answered [F-404]',
  async (t) => {
    for (const resume of [true, false]) {
      const { server, create } = await scripted(t);
      const client = create({ resume: true });
      if (!resume) server.onReady = () => ({ type: 'error' });
      const errors: unknown[] = [];
      const lost: unknown[] = [];
      client.on('error', (error) => errors.push(error));
      client.on('lost', (error) => lost.push(error));
      const turn = client.send('support', 'a');
      await until(() => server.handled.length === 1);
      server.onFrame = (session, frame) => pieces(session, frame, 1);
      server.session.socket?.send('{"type":');
      t.match(await failure(turn.result), { code: 'SESSION_LOST', reason: 'gap', mayHaveReached: true });
      t.match(errors, [{ name: 'SyntaxError' }]);
      t.match(lost, [{ reason: 'gap' }]);
      t.equal(await client.send('support', 'b').text(), '0 ');
      t.equal(server.handled.length, 2);
    }
  },
);

t.test(
  'what cannot be read in place of ready is a failed attempt, and messages wait for the next [F-404]',
  async (t) => {
    const { server, client } = await scripted(t);
    const errors: unknown[] = [];
    client.on('error', (error) => errors.push(error));
    let attempts = 0;
    server.onReady = (ready) => {
      attempts += 1;
      if (attempts < 3) server.session.socket?.send('{');
      return attempts < 3 ? undefined : ready;
    };
    server.onFrame = (session, frame) => pieces(session, frame, 1);
    t.equal(await client.send('support', 'a').text(), '0 ');
    t.equal(attempts, 3);
    t.match(errors, [{ name: 'SyntaxError' }, { name: 'SyntaxError' }]);
  },
);

t.test('values that are no frames are ignored [F-404]', async (t) => {
  const { server, client } = await scripted(t);
  await state(client, 'open');
  for (const text of ['null', '5', '[]', '"x"', '{"type":5}', '{"type":"pong"}', '{"type":"content"}']) {
    server.session.socket?.send(text);
  }
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  t.equal(await client.send('support', 'a').text(), '0 ');
});
