// A router mounted at /arc/ answers /arc with a redirect.
import t from 'tap';
import { AgentTimeoutError, AgentUnreachableError } from '../../src/protocol/errors.js';
import {
  answer,
  chunk,
  connect,
  DONE,
  drain,
  failure,
  http,
  LAST_CHUNK,
  pair,
  START,
  STREAM,
  serve,
  stream,
} from './support.js';

const redirect = (location: string, status = 307, body = ''): Buffer => http(status, body, { location });

t.test('a redirect on the same origin is followed: method, body and headers are repeated', async (t) => {
  for (const status of [307, 308]) {
    const { peer, client } = await pair(t, [redirect('/arc/?v=1', status, 'moved'), answer()], {
      token: 'secret',
      headers: { 'x-own': 'y' },
    });
    t.equal((await client.chat.start(START)).result.chat.chatId, 'c1', String(status));
    const [first, second] = peer.requests;
    t.equal(first?.path, '/arc');
    t.equal(second?.path, '/arc/?v=1');
    t.equal(second?.method, 'POST');
    t.equal(second?.body, first?.body);
    t.same(second?.headers, first?.headers);
    t.match(second?.headers, { authorization: 'Bearer secret', 'x-own': 'y' });
  }
});

t.test('a location may be relative, absolute, or without a scheme', async (t) => {
  const peer = await serve(t, (socket, { path }) => {
    if (path.startsWith('/to/')) socket.write(answer());
    else if (path === '/relative') socket.write(redirect('to/?a=b'));
    else if (path === '/absolute') socket.write(redirect(`${peer.url}/to/?a=b#part`));
    else socket.write(redirect(`${peer.url.slice('http:'.length)}/to/?a=b`));
  });
  for (const path of ['/relative', '/absolute', '/schemeless']) {
    await connect(t, { url: '' }, { endpoint: peer.url + path }).chat.start(START);
    t.equal(peer.requests.at(-1)?.path, '/to/?a=b', path);
  }
});

t.test('the connection of a redirect is used again', async (t) => {
  const bodies = [
    redirect('/arc/'),
    redirect('/arc/', 307, 'See /arc/'),
    Buffer.concat([
      Buffer.from('HTTP/1.1 307 Moved\r\nlocation: /arc/\r\ntransfer-encoding: chunked\r\n\r\n'),
      chunk('See /arc/'),
      Buffer.from(LAST_CHUNK),
    ]),
  ];
  for (const body of bodies) {
    const { peer, client } = await pair(t, (socket, { path }) => socket.write(path === '/arc' ? body : answer()), {
      connections: 1,
    });
    for (let i = 0; i < 3; i++) await client.chat.start(START);
    t.equal(peer.requests.length, 6);
    t.equal(peer.connections, 1);
  }
});

t.test('a redirect with a body that is long or does not end is followed on another connection', async (t) => {
  for (const length of ['1000000', undefined]) {
    const framing = length === undefined ? 'transfer-encoding: chunked' : `content-length: ${length}`;
    const body = length === undefined ? chunk('x'.repeat(40_000)) : Buffer.alloc(40_000);
    const { peer, client } = await pair(t, [
      Buffer.concat([Buffer.from(`HTTP/1.1 307 Moved\r\nlocation: /arc/\r\n${framing}\r\n\r\n`), body]),
      answer(),
    ]);
    t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
    t.same(
      peer.requests.map(({ connection }) => connection),
      [1, 2],
    );
    await peer.until(() => peer.open === 1);
  }
});

t.test('a redirect whose body stalls times out', async (t) => {
  const { peer, client } = await pair(t, [redirect('/arc/', 307, 'x').subarray(0, -1), answer()], { timeout: 50 });
  t.ok((await failure(client.chat.start(START))) instanceof AgentTimeoutError);
  await peer.until(() => peer.open === 0);
});

t.test('a request for a stream is redirected, too', async (t) => {
  const { client } = await pair(t, [redirect('/arc/'), stream(DONE)]);
  t.match((await drain(await client.chat.start(STREAM))).events, [{ event: 'done' }]);
});

t.test('a redirect to another origin is refused, and nothing is sent there', async (t) => {
  const other = await serve(t, answer());
  for (const location of [`${other.url}/arc/`, 'https://127.0.0.1/arc/', '//agents.invalid/arc/', 'ftp://127.0.0.1/']) {
    const { peer, client } = await pair(t, redirect(location), { token: 'secret' });
    const error = await failure(client.chat.start(START));
    t.ok(error instanceof AgentUnreachableError, location);
    t.match(error, { status: 307, fromAgent: false });
    t.equal(
      error.reason,
      'Agent "support" gave no ARC answer: HTTP 307, a redirect to another origin, which is not followed',
    );
    t.equal(peer.requests.length, 1);
  }
  t.equal(other.connections, 0);
});

t.test('a redirect to nowhere is an error', async (t) => {
  for (const bytes of [http(307), redirect('http://'), redirect('http://[')]) {
    const { client } = await pair(t, bytes);
    t.equal(
      (await failure(client.chat.start(START))).reason,
      'Agent "support" gave no ARC answer: HTTP 307, a redirect to nowhere',
    );
  }
});

t.test('redirects without end are given up', async (t) => {
  const { peer, client } = await pair(t, redirect('/arc'));
  const error = await failure(client.chat.start(START));
  t.equal(error.reason, 'Agent "support" gave no ARC answer: HTTP 307, one redirect after another');
  t.equal(peer.requests.length, 4);
});

t.test('the redirects that turn a POST into a GET are not followed', async (t) => {
  for (const status of [301, 302, 303]) {
    const { peer, client } = await pair(t, redirect('/arc/', status));
    const error = await failure(client.chat.start(START));
    t.match(error, {
      code: -41003,
      status,
      reason: `Agent "support" gave no ARC answer: HTTP ${status}, an empty answer`,
    });
    t.equal(peer.requests.length, 1);
  }
});

t.test(
  'what fails after a redirect does not have the redirect’s status, and has the address that was asked',
  async (t) => {
    const { client, peer } = await pair(t, [redirect('/elsewhere?key=1'), (socket) => socket.end()]);
    const error = await failure(client.chat.start(START));
    t.match(error, { code: -41003, status: undefined });
    t.equal(error.address, `${peer.url}/elsewhere`);
  },
);
