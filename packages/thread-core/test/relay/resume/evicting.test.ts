// Waiting sessions end to make room for others.
import t from 'tap';
import { type ResumableSession, ResumableSessions } from '../../../src/relay/resume/resumable-sessions.js';

function registry(limits: { maxDetached?: number; maxDetachedBytes?: number }) {
  const evicted: string[] = [];
  let reads = 0;
  const sessions = new ResumableSessions<ResumableSession>({
    grace: 1000,
    maxBufferedBytes: 1000,
    maxDetached: 100_000,
    maxDetachedBytes: 1_000_000,
    ...limits,
  });
  const detach = (id: string, identityKey: string, bytes: number): void => {
    const session = {
      id,
      resumption: { identityKey, secretHash: '', got: 0, address: '' },
      evict: () => evicted.push(id),
      get keptBytes() {
        reads += 1;
        return bytes;
      },
    };
    sessions.add(session);
    sessions.countDetached(session);
  };
  return { sessions, evicted, detach, reads: () => reads };
}

t.test('thousands of small sessions end for a large one in a time in proportion to their number [F-459]', (t) => {
  const { sessions, evicted, detach, reads } = registry({});
  const count = 5000;
  for (let n = 0; n < count; n++) detach(`small ${n}`, 'ann', 1);
  detach('another', 'bob', 100);
  detach('large', 'ann', 990_000);
  const before = reads();
  detach('too much', 'ann', 9000);
  t.equal(evicted.length, 4100, 'the oldest ones, as many as it takes');
  t.ok(evicted.every((id, index) => id === `small ${index}`));
  t.ok(reads() - before < 6 * count, `${reads() - before} sizes of ${count} sessions`);
  t.equal(sessions.detachedCount, count + 3 - evicted.length);
  t.end();
});

t.test(
  'each time the identity that holds most loses its oldest session, and among equals the one that needs room',
  (t) => {
    const { evicted, detach } = registry({ maxDetachedBytes: 100 });
    detach('ann 1', 'ann', 30);
    detach('ann 2', 'ann', 30);
    detach('bob 1', 'bob', 20);
    detach('bob 2', 'bob', 20);
    detach('cid 1', 'cid', 60);
    t.strictSame(evicted, ['cid 1'], 'it has as much as ann, and needs the room');
    detach('cid 2', 'cid', 10);
    t.strictSame(evicted, ['cid 1', 'ann 1']);
    detach('dan 1', 'dan', 5);
    detach('dan 2', 'dan', 90);
    t.strictSame(evicted, ['cid 1', 'ann 1', 'dan 1', 'dan 2']);
    t.end();
  },
);
