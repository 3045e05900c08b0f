// The headers of requests, and the cookies of chats.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { ArcClient } from '../../src/client/arc-client.js';
import { readCookies, writeCookies } from '../../src/client/cookies.js';
import type { HeadersContext } from '../../src/client/request-headers.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { VERSION } from '../../src/version.js';
import { answer, connect, failure, HELLO, heard, http, pair, RESULT, START, serve } from './support.js';

t.test('a request says which program sends it', async (t) => {
  const { client, peer } = await pair(t, answer());
  await client.chat.start(START);
  const node = process.versions.node.split('.')[0];
  t.equal(peer.requests[0]?.headers['user-agent'], `arc-threads/${VERSION} node/${node}`);
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  t.match(manifest, { version: VERSION }, 'the version is that of the package');
});

t.test('given headers replace ours of the same name, in whatever case', async (t) => {
  const headers = { 'Content-Type': 'application/json', ACCEPT: '*/*', 'user-agent': 'mine', 'X-Own': 'yes' };
  for (const option of [headers, () => headers]) {
    const { client, peer } = await pair(t, answer(), { headers: option });
    await client.chat.start(START);
    t.match(peer.requests[0]?.headers, {
      'content-type': 'application/json',
      accept: '*/*',
      'user-agent': 'mine',
      'x-own': 'yes',
      'accept-encoding': 'identity',
    });
  }
});

t.test('authorization beside a token is a TypeError', async (t) => {
  const endpoint = 'http://127.0.0.1:1/arc';
  const headers = { Authorization: 'Basic eA==' };
  t.throws(
    () => new ArcClient({ endpoint, token: 'abc', headers }),
    new TypeError('headers: has authorization beside a token'),
  );
  const { client, peer } = await pair(t, answer(), { headers });
  await client.chat.start(START);
  t.equal(peer.requests[0]?.headers.authorization, 'Basic eA==', 'without a token it is sent');
  const other = connect(t, peer, { token: 'abc', headers: () => headers });
  t.match(await failure(other.chat.start(START)), { code: -32603, cause: { name: 'TypeError' } });
});

t.test('headers may be a function of the request', async (t) => {
  const asked: HeadersContext[] = [];
  const { client, peer } = await pair(t, answer(), {
    headers: (context) => {
      asked.push(context);
      return { 'x-chat': context.chatId ?? 'none' };
    },
  });
  await client.chat.start({ ...START, traceId: 'tr' });
  await client.chat.message({ targetAgent: 'support', chatId: 'c1', message: HELLO });
  const session = { name: 'session' };
  await heard(client, { params: { chatId: 'c2' } }, { session }).ended;
  t.strictSame(asked, [
    { session: undefined, agentId: 'support', chatId: undefined, method: 'chat.start', traceId: 'tr' },
    { session: undefined, agentId: 'support', chatId: 'c1', method: 'chat.message', traceId: undefined },
    { session, agentId: 'support', chatId: 'c2', method: 'chat.start', traceId: undefined },
  ]);
  t.same(
    peer.requests.map(({ headers }) => headers['x-chat']),
    ['none', 'c1', 'c2'],
  );
});

t.test('a headers function that throws, or gives what cannot be sent, ends its own call', async (t) => {
  const results: (() => unknown)[] = [
    () => {
      throw new Error('no headers');
    },
    () => null,
    () => 'x: y',
    () => ({ 'x y': '1' }),
    () => ({ x: 'a\nb' }),
    () => ({ x: 1 }),
  ];
  for (const result of results) {
    const { client, peer } = await pair(t, answer(), {
      headers: (({ agentId }: HeadersContext) => (agentId === 'good' ? {} : result())) as () => Record<string, string>,
    });
    t.match(await failure(client.chat.start(START)), { code: -32603 });
    t.equal(peer.requests.length, 0);
    await client.chat.start({ ...START, targetAgent: 'good' });
  }
});

/** An agent that sets this cookie in each answer, and the cookies that it gets. */
async function withCookies(t: Parameters<typeof pair>[0], setCookie: string, cookies: true | string[] | undefined) {
  const peer = await serve(t, (socket, { json }) => {
    const { chatId } = json.params as { chatId: string };
    const result = { ...RESULT, chat: { ...RESULT.chat, chatId } };
    const [head = '', body = ''] = answer(result).toString().split('\r\n\r\n');
    socket.write(`${head}\r\n${setCookie}\r\n\r\n${body}`);
  });
  const client = connect(t, peer, { cookies });
  return { client, sent: () => peer.requests.map(({ headers }) => headers.cookie) };
}

t.test('cookies of a chat go along with its later requests, and with no others', async (t) => {
  const { client, sent } = await withCookies(t, 'set-cookie: route=a1; Path=/; HttpOnly\r\nset-cookie: lang=en', true);
  const [one, two] = [new ThreadManager(client), new ThreadManager(client)];
  await one.sendToAgent({ agentId: 'support', message: HELLO });
  await one.sendToAgent({ agentId: 'support', message: HELLO });
  await two.sendToAgent({ agentId: 'support', message: HELLO });
  await one.sendToAgent({ agentId: 'support', contextId: 'other', message: HELLO });
  await one.endAllChats();
  t.same(sent(), [undefined, 'route=a1; lang=en', undefined, undefined, 'route=a1; lang=en', 'route=a1; lang=en']);
});

t.test('only the named cookies are kept, and none by default', async (t) => {
  for (const [option, expected] of [
    [['route'], 'route=a1'],
    [undefined, undefined],
    [[], undefined],
  ] as const) {
    const { client, sent } = await withCookies(
      t,
      'set-cookie: route=a1\r\nset-cookie: lang=en',
      option === undefined ? undefined : [...option],
    );
    const threads = new ThreadManager(client);
    for (let i = 0; i < 2; i++) await threads.sendToAgent({ agentId: 'support', message: HELLO });
    t.same(sent(), [undefined, expected]);
  }
});

t.test('cookies are replaced, deleted, bounded, and sent to their origin only', async (t) => {
  const origin = 'http://a';
  let kept = readCookies(['a=1; Max-Age=60', 'b=2'], undefined, origin, true);
  t.equal(writeCookies(kept, origin), 'a=1; b=2');
  t.equal(writeCookies(kept, 'http://b'), undefined);
  kept = readCookies(['a=3', 'b=; Max-Age=0', '__proto__=x'], kept, origin, true);
  t.equal(writeCookies(kept, origin), 'a=3; __proto__=x');
  kept = readCookies('a=; expires=Thu, 01 Jan 1970 00:00:00 GMT', kept, origin, true);
  t.equal(writeCookies(kept, origin), '__proto__=x');
  t.equal(readCookies(undefined, kept, origin, true), kept);
  const odd = readCookies(['no pair', '=x', 'a b=c', 'a=b\nc', 'a="b c"', 'ok="x"'], undefined, origin, true);
  t.equal(writeCookies(odd, origin), 'ok="x"');
  const many = Array.from({ length: 100 }, (_, at) => `c${at}=${'x'.repeat(1000)}`);
  t.equal(writeCookies(readCookies(many, undefined, origin, true), origin)?.split('; ').length, 20);
  t.equal(writeCookies(readCookies(`big=${'x'.repeat(5000)}`, undefined, origin, true), origin), undefined);
  const moved = readCookies('z=1', kept, 'http://b', true);
  t.equal(writeCookies(moved, 'http://b'), 'z=1');
});

t.test('cookies go along with those that the application gives', async (t) => {
  const { peer, client } = await pair(t, http(200, ''), { cookies: true, headers: { Cookie: 'own=1' } });
  const chat = { cookies: { origin: peer.url, values: { route: 'a1' } } };
  await heard(client, { chat }).ended;
  t.equal(peer.requests[0]?.headers.cookie, 'own=1; route=a1');
});
