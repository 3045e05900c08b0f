import { createServer } from 'node:http';
import { closeServer, listening, portOf, runHostContract, upgrade } from '@arc/host-contract';
import { expressWsHost } from '@arc/host-contract/hosts/express';
import express from 'express';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, expressWsHost(arc, { verifies: false }));
runHostContract(t, expressWsHost(arc, { verifies: true }));

t.test('in a Router verifyClient asks at the path of the option only, and trusts the proxies of the app', async (t) => {
  const app = express();
  app.set('trust proxy', true);
  const endpoint = 'http://127.0.0.1:1/arc';
  const authenticate = ({ headers }: { headers: { authorization?: string | undefined } }) => headers.authorization;
  const agents = arc({ app, path: '/api/ws', endpoint, authenticate });
  app.use('/api', express.Router().use('/ws', agents));
  // As a ws server does with the option verifyClient.
  const server = createServer(app).on('upgrade', (req, socket) => {
    agents.verifyClient({ req }, (isAllowed, status = 500) => {
      const answer = `HTTP/1.1 ${isAllowed ? 299 : status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`;
      socket.end(answer, () => socket.destroy());
    });
  });
  await listening(server.listen(0, '127.0.0.1'));
  t.teardown(() => closeServer(server));
  const status = async (path: string, headers = {}): Promise<number> =>
    (await upgrade(portOf(server), path, { connection: 'upgrade, close', ...headers })).status;
  t.equal(await status('/echo'), 299, "a route of the app's own");
  t.equal(await status('/api/ws'), 401);
  t.equal(await status('/api/ws', { authorization: 'ann' }), 299);
  const proxied = { authorization: 'ann', origin: 'https://app.example', 'x-forwarded-host': 'app.example' };
  t.equal(await status('/api/ws', proxied), 299);
});
