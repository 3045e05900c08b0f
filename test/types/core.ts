// What an application writes on @arc/thread-core, which test/types.test.ts compiles as its users may: it is never run.
import type { IncomingMessage } from 'node:http';
import { createRelay, type RelayOptions, type RelaySocket } from '@arc/thread-core';
import { serveUpgrades } from '@arc/thread-core/host';

interface User {
  name: string;
  agents: string[];
}
declare const users: Map<string, User>;
declare const socket: RelaySocket;
declare const request: IncomingMessage;
const endpoint = 'http://127.0.0.1:8000/arc';

const relay = createRelay({
  endpoint,
  authenticate: async ({ headers }) => users.get(String(headers['x-api-key'])),
  authorize: (user, agentId) => user.agents.includes(agentId),
  sessionToken: ({ identity }) => identity.name,
  headers: ({ session, agentId }) => ({ 'x-user': session.identity.name, 'x-agent': agentId }),
  route: (_frame, session) => session.identity.agents[0],
  hooks: { onOpen: ({ identity }) => void identity.name.trim(), onRefuse: ({ reason }) => void reason.length },
  identity: {
    key: ({ name }) => name,
    save: ({ name, agents }) => ({ name, agents }),
    load: (saved) => saved as unknown as User,
  },
  idleTimeout: undefined,
});
const names: string[] = [...relay.sessions].map(({ identity }) => identity.name);
const session = relay.attach(socket, request, { identity: { name: names[0] ?? '', agents: [] } });
session.identity.agents.push('a');

/** Also from what `authenticate` gives at once, or may not give. */
createRelay({
  endpoint,
  authenticate: ({ url }) => (url === '/' ? users.get('a') : false),
  authorize: ({ name }) => name === 'ann',
});

/** Parameters may be declared more precisely than they are known. */
const options: RelayOptions = { authorize: (user: User) => user.name === 'ann' };
createRelay({ endpoint, ...options });

createRelay({ endpoint, authenticate: () => users.get('a'), identity: { key: (user: User) => user.name } });

// @ts-expect-error: neither endpoint nor client
createRelay({});
// @ts-expect-error: there is no such option
createRelay({ endpoint, endpiont: 1 });
// @ts-expect-error: the identity is a User
createRelay({ endpoint, authenticate: () => users.get('a'), authorize: (user: number) => user > 1 });

declare const server: Parameters<typeof serveUpgrades>[0];
serveUpgrades(server, relay, ({ url }) => url === '/ws');
