import t from 'tap';
import { memoryStore } from '../../../src/index.js';
import { identityKeyOf } from '../../../src/relay/admission/identity.js';
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

const found = [
  { user: 'ann' },
  [{ user: 'ann' }],
  Object.create(null),
  new Map(),
  true,
  Number.NaN,
  Symbol('ann'),
  () => 'ann',
];

t.test('[F-531] an identity.key that returns what is the same text for all users is an error in the log', async (t) => {
  const all = await world(t, {
    resume: true,
    identity: { key: ((index: number) => found[index]) as never },
    attach: nth(),
  });
  for (const [index, value] of found.entries()) {
    const client = await all.connect();
    client.send({ type: 'resume' });
    t.match(await client.next(), { type: 'error', data: { message: /cannot resume/ } }, `${typeof value} ${index}`);
  }
  for (const text of ['[object Object]', '[object Map]', 'true', 'NaN', 'Symbol(ann)', "() => 'ann'"])
    await all.relay.endSessions(text);
  t.equal(all.relay.stats().sessions, found.length, 'nobody is signed out');
  const [line] = all.log.at('error');
  t.match(line, { message: 'identity.key threw', about: { err: /identity\.key: must return a string/ } });
});

t.test('[F-531] an identity.key may return a string, a number, a bigint, or an object that is a text', (t) => {
  class ObjectId {
    toString(): string {
      return '65f0';
    }
  }
  const keys: [unknown, string | undefined][] = [
    ['ann', 'ann'],
    ['[object Object]', '[object Object]'],
    [7, '7'],
    [7n, '7'],
    [new ObjectId(), '65f0'],
    [['tenant', 7], 'tenant,7'],
    [undefined, undefined],
    [null, undefined],
  ];
  for (const [value, key] of keys) t.equal(identityKeyOf('x', { key: (() => value) as never }), key);
  t.end();
});

/** Admits the clients as 0, 1, 2, … */
function nth(): () => { identity: number } {
  let next = 0;
  return () => ({ identity: next++ });
}

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
