import t from 'tap';
import { memoryStore } from '../../../src/index.js';
import { world } from '../helpers.js';

t.test('an identity.key that is async is an error in the log, and no two users have the same key', async (t) => {
  let isBroken = false;
  const key = async ({ id }: { id: string }): Promise<string> => {
    if (isBroken) throw new Error('rejected');
    return id;
  };
  const users = ['ann', 'bob', 'eve'];
  const all = await world(t, {
    resume: true,
    identity: { key: key as never },
    attach: () => ({ identity: { id: users.shift() } }),
  });
  for (const user of ['ann', 'bob', 'eve']) {
    // What it is rejected with must not end the process.
    isBroken = user === 'eve';
    const client = await all.connect();
    client.send({ type: 'resume' });
    t.match(await client.next(), { type: 'error', data: { message: /cannot resume/ } }, user);
  }
  await all.relay.endSessions('[object Promise]');
  t.equal(all.relay.stats().sessions, 3, 'not all users are one');
  t.match(all.log.at('error')[0], { message: 'identity.key threw', about: { err: /identity.key.*not be async/ } });
});

t.test('an identity.save that is async is an error, and nothing is stored in place of the identity', async (t) => {
  const all = await world(t, {
    resume: true,
    identity: { save: (async (identity: unknown) => identity) as never },
    cluster: { store: memoryStore(), node: 'a' },
  });
  await all.log.line('the node is in the cluster');
  const client = await all.connect();
  client.send({ type: 'resume' });
  t.match((await all.log.line('identity.save threw')).about, { err: /identity.save.*not be async/ });
});
