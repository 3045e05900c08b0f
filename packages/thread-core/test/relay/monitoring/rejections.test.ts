// Frames that are answered with an error, and for which nothing is sent.
import t from 'tap';
import type { FrameRejection } from '../../../src/index.js';
import { to, world } from '../helpers.js';

t.test('a frame that is rejected is counted by its reason, and told to onReject', async (t) => {
  const rejections: FrameRejection[] = [];
  const { agent, relay, connect } = await world(t, {
    agents: ['support', 'hr'],
    maxPending: 1,
    authorize: (_identity, agentId, frame) => {
      if (frame.id === 'broken') throw new Error('The database is away');
      return agentId !== 'hr';
    },
    hooks: { onReject: (_session, rejection) => void rejections.push(rejection) },
  });
  const client = await connect();
  client.socket.send('{');
  t.match(await client.next(), { type: 'error' });
  t.match(await client.ask({ ...to('hr', 'x', { id: 1 }), context_id: 'c', trace_id: 't' }), {
    data: { code: -44_002 },
  });
  t.match(await client.ask(to('other', 'x', { id: 2 })), { data: { code: -44_002 } });
  t.match(await client.ask(to('support', 'x', { id: 'broken' })), { data: { code: -32_603 } });
  const gate = agent.hold('chat.start');
  client.send(to('support', 'x', { id: 3 }));
  await gate.arrived;
  t.match(await client.ask(to('support', 'x', { id: 4 })), { data: { code: -44_007 } });
  gate.release();
  t.match(await client.next(), { type: 'response', id: 3 });
  t.match(rejections, [
    { id: undefined, agentId: undefined, reason: 'invalid', error: { code: -32_700 } },
    { id: 1, agentId: 'hr', contextId: 'c', traceId: 't', reason: 'forbidden' },
    { id: 2, agentId: 'other', contextId: undefined, reason: 'forbidden' },
    { id: 'broken', agentId: 'support', reason: 'failed', error: { message: 'The database is away' } },
    { id: 4, agentId: 'support', reason: 'limit' },
  ]);
  t.equal(rejections.length, 5);
  t.match(relay.stats(), {
    rejected: { invalid: 1, forbidden: 2, limit: 1, failed: 1 },
    sends: { response: 1, error: 0 },
  });
  t.match(await relay.metrics(), /^arc_relay_frames_rejected_total\{reason="forbidden"\} 2$/m);
});

t.test('an onReject that throws is logged, and the next frame is handled', async (t) => {
  const onReject = (): never => {
    throw new Error('Broken');
  };
  const { log, connect } = await world(t, { hooks: { onReject } });
  const client = await connect();
  client.socket.send('{');
  t.match(await client.next(), { type: 'error' });
  t.match(await log.line('onReject'), { message: 'the hook onReject threw', about: { err: { message: 'Broken' } } });
  t.match(await client.ask(to('support')), { type: 'response' });
});
