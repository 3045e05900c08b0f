// A frame that is lost on its way between two nodes.
import t from 'tap';
import { to, until } from '../helpers.js';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test(
  'a frame that was lost between two nodes with the data of the store is sent again by its client [S-64]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2, { lease: 10_000 });
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, got: 1, pending: [1] });
    const post = store.post.bind(store);
    let lost = 0;
    store.post = (node, message) => {
      const { event } = Object(message) as { event?: { event?: string } };
      if (lost > 0 || event?.event !== 'frame') return post(node, message);
      lost += 1;
      return Promise.resolve(true);
    };
    const frames = [to('hr', 'y', { id: 2 }), { type: 'cancel', id: 1 }];
    second.send(...frames);
    await until(() => second.socket.readyState === second.socket.CLOSED, 'the connection to be closed', 3000);
    t.equal((await second.closed).code, 1012);
    const [third, again] = await b.resume({ session, seq: 0, sent: 3 });
    t.match(again, { resumed: true, got: 1 });
    third.send(...frames);
    let frame = await third.next();
    while (frame.type === 'ack') frame = await third.next();
    t.match(frame, { type: 'cancelled', id: 1 });
    gate.release();
    frame = await third.next();
    while (frame.type === 'ack') frame = await third.next();
    t.match(frame, { type: 'response', id: 2 });
  },
);
