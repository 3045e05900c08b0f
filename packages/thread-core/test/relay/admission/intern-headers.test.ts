import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t from 'tap';
import { internHeaders } from '../../../src/relay/admission/intern-headers.js';

t.test('a request says the same when it shares the texts of its headers', async (t) => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const lines = [
    'Host: example.org',
    'HOST: other.example',
    'upgrade: WebSocket',
    'Connection: keep-alive',
    'connection: Upgrade',
    'Cookie: a=1',
    'cookie: b=2',
    'Authorization: Bearer secret',
    `User-Agent: ${'x'.repeat(1000)}`,
    'Origin: null',
    'X-Odd: é',
    'X-Odd: 2',
    'Accept-Language: ',
  ];
  for (let n = 0; n < 3; n += 1) {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write(`GET /ws HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    const [request] = (await once(server, 'upgrade')) as [IncomingMessage];
    const rawHeaders = [...request.rawHeaders];
    const headers = structuredClone(request.headers);
    t.equal(headers.connection, 'keep-alive, Upgrade');
    internHeaders(request);
    t.strictSame(request.rawHeaders, rawHeaders);
    t.strictSame({ ...request.headers }, headers);
    t.strictSame(Object.keys(request.headersDistinct).sort(), Object.keys(headers).sort());
    socket.destroy();
    request.socket.destroy();
  }
});

t.test('what a test has injected in place of a request is left as it is', async (t) => {
  t.doesNotThrow(() => internHeaders({ headers: { connection: 'upgrade' } }));
});

t.test('no secret of a request is kept', async (t) => {
  const kept: unknown[] = [];
  const { set } = Map.prototype;
  Map.prototype.set = function (this: Map<unknown, unknown>, key: unknown, value: unknown) {
    kept.push(key, value);
    return set.call(this, key, value);
  };
  const names = ['Authorization', 'Cookie', 'Sec-WebSocket-Protocol', 'X-Token', 'User-Agent'];
  for (const name of names) internHeaders({ rawHeaders: [name, `canary of ${name}`], headers: {} });
  Map.prototype.set = set;
  t.strictSame(
    kept.filter((text) => String(text).startsWith('canary')),
    ['canary of User-Agent', 'canary of User-Agent'],
    'of these only the browser is',
  );
});
