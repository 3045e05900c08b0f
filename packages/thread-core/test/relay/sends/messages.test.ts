import t from 'tap';
import { arcError } from '../../../src/protocol/errors.js';
import { faults } from '../../../src/testing/index.js';
import { type Frame, type Json, say, streamedText, textOf, to, world } from '../helpers.js';

const chatOf = (frame: Json): Json => (frame as { response: { result: { chat: Json } } }).response.result.chat;

t.test('the whole answer is one response frame with the envelope of the agent [F-58] [F-84]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const frame = await client.ask(to('support', 'hello'));
  const chatId = agent.requests[0]?.chatId as string;
  t.strictSame(Object.keys(frame), ['type', 'agent_id', 'response']);
  t.strictSame(Object.keys(frame.response as Json), ['arc', 'id', 'responseAgent', 'targetAgent', 'result', 'error']);
  t.equal(textOf(frame), 'support #1: hello');
  t.equal(chatOf(frame).chatId, chatId);
});

t.test('chat.start the first time, chat.message in the same chat after [F-14] [F-62] [F-71]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const message = { role: 'user', parts: [{ type: 'TextPart', content: 'x' }], more: [1] };
  await client.ask({ agent_id: 'support', message, trace_id: 'tr-1', metadata: { plan: 'gold' } });
  t.equal(textOf(await client.ask(to('support', 'again'))), 'support #2: again');
  const [first, second] = agent.requests;
  t.match(first, { method: 'chat.start', agentId: 'support', traceId: 'tr-1' });
  t.strictSame(first?.params.initialMessage, message, 'the message is forwarded unchanged');
  t.strictSame(first?.params.metadata, { plan: 'gold' });
  t.match(second, { method: 'chat.message', chatId: first?.chatId, traceId: undefined });
  t.strictSame(second?.params.message, say('again'));
});

t.test('an answer repeats the fields that its frame had, and no others [F-10] [F-11] [F-66] [F-75]', async (t) => {
  const { connect } = await world(t, { route: () => 'support' });
  const client = await connect();
  const all: Json = { id: 'm-1', agent_id: 'support', context_id: 'c', trace_id: 't' };
  const names = Object.keys(all);
  for (let some = 0; some < 16; some++) {
    const echo = Object.fromEntries(names.filter((_, bit) => some & (1 << bit)).map((name) => [name, all[name]]));
    const { type, response, ...rest } = await client.ask({ ...echo, message: say('x') });
    t.equal(type, 'response');
    t.strictSame(rest, echo, JSON.stringify(echo));
    client.send({ ...echo, message: say('a b'), stream: true });
    for (const { type, data, ...rest } of await client.answer())
      t.strictSame(rest, echo, `${type} ${JSON.stringify(echo)}`);
    const failed = await client.ask({ ...echo, message: 1 });
    t.strictSame({ ...failed, data: undefined }, { type: 'error', ...echo, data: undefined });
  }
});

t.test('null in an optional field, and an empty trace id, are absent [F-10] [F-360]', async (t) => {
  const { agent, connect } = await world(t, { stream: true });
  const client = await connect();
  const nothing = { type: null, id: null, context_id: null, trace_id: null, stream: null, metadata: null };
  client.send({ ...to('a'), ...nothing, mine: null });
  for (const { type, data, ...rest } of await client.answer()) t.strictSame(rest, { agent_id: 'a' }, type);
  t.match(agent.requests[0], { method: 'chat.start', traceId: undefined });
  t.notOk('metadata' in (agent.requests[0]?.params ?? {}));
  t.match(await client.ask({ ...to('a'), stream: false, trace_id: '' }), { type: 'response', trace_id: undefined });
  t.notMatch(agent.requests[1]?.body, /traceId/, 'nothing is sent for it');
  t.strictSame(agent.requests[0]?.chatId, agent.requests[1]?.chatId, 'one thread, without a context');
  const { response, ...ended } = await client.ask({ ...nothing, type: 'end', agent_id: 'a', reason: null });
  t.strictSame(ended, { type: 'ended', agent_id: 'a' });
  t.notMatch(agent.requests[2]?.body, /reason":null|traceId/);
  client.send({ type: 'ping', id: null });
  t.strictSame(await client.next(), { type: 'pong' });
});

t.test('a number as trace id is taken as text, in the answer as well, or as absent [F-361] [F-498]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  for (const [trace_id, text] of [
    [7, '7'],
    [-0.5, '-0.5'],
    [0, '0'],
    [2 ** 60, String(2 ** 60)],
  ] as const) {
    t.match(await client.ask(to('a', 'x', { trace_id })), { type: 'response', trace_id: text });
    t.equal(agent.requests.at(-1)?.traceId, text);
    t.match(
      await client.ask({ agent_id: 'a', trace_id }),
      { type: 'error', trace_id: text },
      'an error repeats it, too',
    );
    t.match(await client.ask({ type: 'end', agent_id: 'a', trace_id }), { type: 'ended', trace_id: text });
    t.equal(agent.requests.at(-1)?.traceId, text);
  }
  for (const trace_id of ['1e999', '-1e999']) {
    const frame = `{"agent_id":"a","trace_id":${trace_id},"message":{"role":"user","parts":[]}}`;
    t.match(await client.ask(frame), { type: 'response', trace_id: undefined });
    t.equal(agent.requests.at(-1)?.traceId, undefined);
  }
});

t.test('an id is a string or a number, and is repeated unchanged [F-8] [F-59] [F-63]', async (t) => {
  const { connect } = await world(t);
  const client = await connect();
  const ids = [
    '1',
    1,
    0,
    -7,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
    'x'.repeat(256),
    '"\\\n\u2028',
    '😀'.repeat(256),
  ];
  for (const id of ids) t.equal((await client.ask(to('support', 'x', { id }))).id, id);
});

t.test('type "message" may be written out, and unknown fields are ignored [F-9] [F-58] [F-70]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const frame = await client.ask({ ...to('support'), type: 'message', user: { a: 1 }, seq: -1, restarted: true });
  t.strictSame(Object.keys(frame), ['type', 'agent_id', 'response']);
  t.strictSame(Object.keys(agent.requests[0]?.params ?? {}), ['initialMessage', 'chatId']);
});

t.test('a stream, event by event [F-24] [F-26] [F-85] [F-86] [F-87] [F-88]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const content = { message: { role: 'agent', parts: [{ type: 'TextPart', content: 'Hi' }] } };
  agent.script('chat.start', {
    events: [
      { event: 'stream', data: content },
      { event: 'metadata', data: { model: 'm' } },
      { event: 'progress', data: { percent: 50 } },
      { event: 'content', data: { n: 2 } },
      { event: 'message', data: [3] },
      { data: { n: 4 } },
      { event: 'tool "x"', data: true },
      { event: 'done', data: { status: 'ACTIVE' } },
    ],
  });
  client.send(to('support', 'x', { id: 5, stream: true }));
  const echo = { id: 5, agent_id: 'support' };
  t.strictSame(await client.answer(), [
    { type: 'content', ...echo, data: content },
    { type: 'metadata', ...echo, data: { model: 'm' } },
    { type: 'event', ...echo, event: 'progress', data: { percent: 50 } },
    { type: 'content', ...echo, data: { n: 2 } },
    { type: 'content', ...echo, data: [3] },
    { type: 'content', ...echo, data: { n: 4 } },
    { type: 'event', ...echo, event: 'tool "x"', data: true },
    { type: 'done', ...echo, data: { status: 'ACTIVE' } },
  ]);
  t.strictSame(await client.rest(), []);
});

t.test('the frame says whether to stream, else the option, else not [F-73]', async (t) => {
  for (const option of [undefined, false, true]) {
    const { agent, connect } = await world(t, { stream: option });
    const client = await connect();
    for (const stream of [undefined, false, true]) {
      const frame = await client.ask(to('support', 'x', stream === undefined ? {} : { stream }));
      const wanted = stream ?? option ?? false;
      t.equal(frame.type, wanted ? 'done' : 'response', `option ${option}, frame ${stream}`);
      t.equal(agent.requests.at(-1)?.params.stream, wanted || undefined);
    }
  }
});

t.test('a JSON answer to a streamed send is one response frame [F-27]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('support'));
  const result = { type: 'chat', chat: { chatId: agent.requests[0]?.chatId } };
  const body = JSON.stringify({ arc: '1.0', id: '1', responseAgent: 'a', targetAgent: 'b', result });
  agent.script('chat.message', { status: 200, body, headers: { 'content-type': 'application/arc+json' } });
  client.send(to('support', 'x', { id: 'a', stream: true }));
  const [frame, ...more] = await client.answer();
  t.strictSame(frame, { type: 'response', id: 'a', agent_id: 'support', response: JSON.parse(body) as Json });
  t.strictSame([...more, ...(await client.rest())], []);
});

t.test('a stream that answers a plain send is content and done [F-27]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  agent.script('chat.start', {
    events: [
      { event: 'stream', data: { n: 1 } },
      { event: 'done', data: { n: 2 } },
    ],
  });
  client.send(to('support'));
  t.strictSame(await client.answer(), [
    { type: 'content', agent_id: 'support', data: { n: 1 } },
    { type: 'done', agent_id: 'support', data: { n: 2 } },
  ]);
  t.strictSame(await client.rest(), []);
});

t.test('data that is not JSON becomes a JSON string, and empty data of done null [F-94] [F-95]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const texts = ['plain "text"', '{"cut":', 'two\nlines', 'Nancy', '\u2028'];
  const events = texts.flatMap((data) => [
    { event: 'content', data },
    { event: 'own', data },
  ]);
  agent.script('chat.start', { events: [...events, { event: 'done', data: '' }] });
  client.send(to('support', 'x', { stream: true }));
  const frames = await client.answer();
  t.strictSame(
    frames.map(({ data }) => data),
    [...texts.flatMap((text) => [text, text]), null],
  );
  agent.script('chat.message', { events: ['event: content\ndata: 1\n\n', 'event: done\n\n'], done: false });
  client.send(to('support', 'x', { stream: true }));
  t.strictSame(
    (await client.answer()).map(({ type, data }) => [type, data]),
    [
      ['content', 1],
      ['done', null],
    ],
  );
});

t.test("the envelope and the data of events are the agent's bytes [F-25] [S-11]", async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('support'));
  const chatId = agent.requests[0]?.chatId;
  const odd = '{"n":12345678901234567890,"f":1.10,"e":1E400,"u":"\\u00e9\\ud83d", "twice":1,"twice":2}';
  const body = `{"arc":"1.0","id":7, "result":{"type":"chat","chat":{"chatId":"${chatId}","message":${odd}}}}`;
  agent.script('chat.message', { status: 200, body, headers: { 'content-type': 'application/json' } });
  client.send(to('support'));
  t.equal(await client.text(), `{"type":"response","agent_id":"support","response":${body}}`);
  const events = ['content', 'metadata', 'progress', 'done'].map((event) => ({ event, data: odd }));
  agent.script('chat.message', { events });
  client.send(to('support', 'x', { stream: true }));
  t.equal(await client.text(), `{"type":"content","agent_id":"support","data":${odd}}`);
  t.equal(await client.text(), `{"type":"metadata","agent_id":"support","data":${odd}}`);
  t.equal(await client.text(), `{"type":"event","agent_id":"support","event":"progress","data":${odd}}`);
  t.equal(await client.text(), `{"type":"done","agent_id":"support","data":${odd}}`);
});

t.test('data of several lines is one frame', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  agent.script('chat.start', { events: ['event: content\r\ndata: {"a":\r\ndata: 1}\r\n\r\n', { event: 'done' }] });
  client.send(to('support', 'x', { stream: true }));
  t.strictSame((await client.answer())[0], { type: 'content', agent_id: 'support', data: { a: 1 } });
});

t.test('a page that knows one agent: the envelope alone, and streams as they are [F-32] [F-102]', async (t) => {
  const { agent, connect } = await world(t, { replies: 'bare' });
  const client = await connect();
  for (const turn of [1, 2]) {
    client.send({ agent_id: 'support-agent', message: say('Help needed') });
    const text = await client.text();
    const envelope = JSON.parse(text) as { result: { chat: { chatId: string } }; arc: string };
    t.equal(envelope.arc, '1.0');
    t.equal(envelope.result.chat.chatId, agent.requests[0]?.chatId);
    t.match(textOf({ response: envelope }), `support-agent #${turn}: Help needed`);
  }
  client.send({ agent_id: 'support-agent', message: say('More info'), stream: true });
  const frames = await client.answer();
  t.equal(streamedText(frames), 'support-agent #3: More info');
  t.equal(frames.at(-1)?.type, 'done');
  agent.script('chat.message', { error: { code: -43_005, message: 'No' } });
  t.strictSame(await client.ask(to('support-agent')), {
    type: 'error',
    agent_id: 'support-agent',
    data: { code: -43_005, message: 'No' },
  });
});

t.test('the loop of a page that knows several agents: {agent_id, response}', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  for (const agentId of ['support', 'finance', 'hr', 'finance']) {
    client.send({ agent_id: agentId, message: say('Hi') });
    const { agent_id, response } = await client.next();
    t.equal(agent_id, agentId);
    t.match(textOf({ response }), `${agentId} #`);
  }
  t.strictSame(
    agent.requests.map(({ method }) => method),
    ['chat.start', 'chat.start', 'chat.start', 'chat.message'],
  );
});

t.test('the loop of a page that streams: {type, data} until done or error', async (t) => {
  const { agent, connect } = await world(t, { stream: true });
  const client = await connect();
  const loop = async (): Promise<Frame[]> => {
    client.send({ agent_id: 'support', message: say('one two') });
    const frames: Frame[] = [];
    for (;;) {
      const frame = await client.next();
      frames.push(frame);
      if (frame.type === 'done' || frame.type === 'error') return frames;
    }
  };
  const first = await loop();
  t.equal(streamedText(first), 'support #1: one two');
  t.match(first.at(-1), { type: 'done', data: { done: true, chatId: agent.requests[0]?.chatId } });
  agent.script('chat.message', { events: [{ event: 'error', data: { error: { code: -43_005, message: 'No' } } }] });
  t.match(await loop(), [{ type: 'error', data: { code: -43_005, message: 'No' } }]);
});

t.test('sends to one thread are answered one after the other, in order of arrival [F-34]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  // The later ones would be faster.
  for (const delay of [40, 20, 0]) agent.script({ agentId: 'a' }, { reply: `after ${delay}`, delay });
  client.send(to('a', '1', { id: 1 }), to('a', '2', { id: 2, stream: true }), to('a', '3', { id: 3 }));
  const frames = [...(await client.answer()), ...(await client.answer()), ...(await client.answer())];
  t.strictSame(
    frames.map(({ id, type }) => [id, type]),
    [
      [1, 'response'],
      [2, 'content'],
      [2, 'done'],
      [3, 'response'],
    ],
  );
  t.strictSame(
    agent.requests.map(({ method }) => method),
    ['chat.start', 'chat.message', 'chat.message'],
  );
});

t.test('other agents and contexts run side by side, in chats of their own [F-13] [F-35] [F-61] [F-69]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const gate = agent.hold({ agentId: 'a' });
  client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2, context_id: 'c' }), to('b', 'x', { id: 3 }));
  t.match(await client.next(), { id: 3, type: 'response' }, 'b does not wait for a');
  await agent.waitFor(({ counters }) => counters.running === 2);
  gate.release();
  const frames = await client.all(2);
  t.strictSame(new Set(frames.map(({ id }) => id)), new Set([1, 2]));
  t.equal(new Set(agent.requests.map(({ chatId }) => chatId)).size, 3);
  t.strictSame(
    agent.requests.map(({ method }) => method),
    ['chat.start', 'chat.start', 'chat.start'],
  );
  t.equal(textOf(await client.ask(to('a', 'y', { context_id: 'c' }))), 'a #2: y');
  t.equal(agent.requests.at(-1)?.chatId, agent.requests[1]?.chatId);
  t.strictSame(client.texts, []);
});

t.test(
  'restarted is on the last frame of a send whose chat was lost, and on no other [F-29] [F-99] [F-100]',
  async (t) => {
    const { agent, connect } = await world(t);
    const client = await connect();
    t.notOk('restarted' in (await client.ask(to('a'))));
    agent.forget();
    const response = await client.ask(to('a', 'x', { id: 1 }));
    t.match(response, { type: 'response', id: 1, restarted: true });
    t.equal(textOf(response), 'a #1: x', 'in a new chat');
    t.notOk('restarted' in (await client.ask(to('a'))));
    agent.forget();
    client.send(to('a', 'one two', { stream: true }));
    const frames = await client.answer();
    t.match(frames.at(-1), { type: 'done', restarted: true });
    t.ok(frames.slice(0, -1).every((frame) => frame.type === 'content' && !('restarted' in frame)));
    agent.forget();
    agent.script('chat.start', { error: { code: -43_005, message: 'No' } });
    t.strictSame(await client.ask(to('a')), {
      type: 'error',
      agent_id: 'a',
      restarted: true,
      data: { code: -43_005, message: 'No' },
    });
  },
);

t.test('a cancelled send that was restarted says so [F-99]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  agent.forget();
  const gate = agent.hold('chat.start');
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  t.strictSame(await client.ask({ type: 'cancel', id: 1 }), {
    type: 'cancelled',
    id: 1,
    agent_id: 'a',
    restarted: true,
  });
  gate.release();
});

t.test('a chat lost in the midst of an answer is an error, and the next send starts a new one [F-101]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  const lost = { event: 'error', data: { error: { code: -43_001, message: 'Gone' } } };
  agent.script('chat.message', { events: [{ event: 'content', data: 1 }, lost] });
  client.send(to('a', 'x', { stream: true }));
  t.strictSame(await client.answer(), [
    { type: 'content', agent_id: 'a', data: 1 },
    { type: 'error', agent_id: 'a', data: { code: -43_001, message: 'Gone' } },
  ]);
  agent.forget();
  const next = await client.ask(to('a', 'x'));
  t.equal(textOf(next), 'a #1: x');
  t.notOk('restarted' in next);
});

t.test('a chat lost again right after a restart is an error [F-30]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a'));
  agent.forget();
  agent.script('chat.start', { error: { code: -43_001, message: 'Gone' } });
  t.match(await client.ask(to('a')), { type: 'error', restarted: true, data: { code: -43_001 } });
  t.equal((await client.ask(to('a'))).type, 'response');
});

t.test('busy: reject refuses a send while one runs; parallel and interrupt do as they say', async (t) => {
  await t.test('reject [F-107] [F-135]', async (t) => {
    const { agent, connect } = await world(t, { busy: 'reject' });
    const client = await connect();
    const gate = agent.hold();
    client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
    t.match(await client.next(), { type: 'error', id: 2, agent_id: 'a', data: { code: -50_001 } });
    gate.release();
    t.match(await client.next(), { type: 'response', id: 1 });
  });
  await t.test('parallel', async (t) => {
    const { agent, connect } = await world(t, { busy: 'parallel' });
    const client = await connect();
    await client.ask(to('a'));
    const gate = agent.hold();
    client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
    await agent.waitFor(({ counters }) => counters.running === 2);
    gate.release();
    t.equal((await client.all(2)).length, 2);
  });
  await t.test('interrupt [F-108]', async (t) => {
    const { agent, connect } = await world(t, { busy: 'interrupt' });
    const client = await connect();
    await client.ask(to('a'));
    const gate = agent.hold();
    client.send(to('a', 'x', { id: 1 }));
    await gate.arrived;
    client.send(to('a', 'x', { id: 2 }));
    t.strictSame(await client.next(), { type: 'cancelled', id: 1, agent_id: 'a' });
    gate.release();
    t.match(await client.next(), { type: 'response', id: 2 });
    await agent.waitFor(({ counters }) => counters.aborted === 1);
  });
});

t.test('each send has exactly one last frame, and nothing follows it [F-23] [F-93]', async (t) => {
  const { agent, connect } = await world(t, { cleanupTimeout: 200 });
  const client = await connect();
  const error = { event: 'error', data: { code: -43_005, message: 'No' } };
  const late = [{ event: 'content', data: 1 }, error, { event: 'content', data: 2 }, { event: 'done', data: 3 }];
  const after = [
    { event: 'done', data: 1 },
    { event: 'content', data: 2 },
    { event: 'done', data: 3 },
  ];
  const answers = [{ events: late }, { events: after }, faults.html(), { reply: 'x' }, faults.cut(10)];
  for (const [index, answer] of answers.entries()) agent.script({ agentId: `a${index}` }, answer, answer);
  for (const [index] of answers.entries()) {
    client.send(to(`a${index}`, 'x', { id: `${index}-s`, stream: true }), to(`a${index}`, 'x', { id: `${index}-p` }));
  }
  const last = ['response', 'done', 'error', 'cancelled'];
  const frames: Frame[] = [];
  while (frames.filter(({ type }) => last.includes(type)).length < answers.length * 2) frames.push(await client.next());
  frames.push(...(await client.rest()));
  for (const [index] of answers.entries()) {
    for (const id of [`${index}-s`, `${index}-p`]) {
      const own = frames.filter((frame) => frame.id === id).map(({ type }) => type);
      t.equal(own.filter((type) => last.includes(type)).length, 1, `${id}: ${own}`);
      t.ok(last.includes(own.at(-1) as string), `${id} ends with it`);
    }
  }
});

t.test("half of a surrogate pair in an agent's error arrives as U+FFFD [F-124]", async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const fail = (): never => {
    throw arcError(-50_042, 'no \ud800', { details: { '\udc00': ['\\ud800', '😀'] } });
  };
  for (const stream of [false, true]) {
    agent.script({ agentId: 'a', method: 'chat.start' }, fail);
    client.send(to('a', 'x', { stream }));
    const text = await client.text();
    t.notMatch(text, /[^\\]\\ud/, 'no escape that a client could fail at');
    t.strictSame(JSON.parse(text).data, {
      code: -50_042,
      message: 'no \ufffd',
      details: { '\ufffd': ['\\ud800', '😀'] },
    });
  }
});
