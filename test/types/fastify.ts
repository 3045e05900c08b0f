// What an application writes on fastify-arc, which test/types.test.ts compiles as its users may: it is never run.
import Fastify, { type FastifyRequest } from 'fastify';
import arc from 'fastify-arc';

interface User {
  name: string;
}
const endpoint = 'http://127.0.0.1:8000/arc';
const app = Fastify();

await app.register(arc, {
  endpoint,
  path: '/ws',
  authenticate: (_request, request) => request.headers.authorization,
  authorize: (identity: string, agentId) => identity.startsWith(agentId),
});
app.get('/health', () => app.arc.stats().sessions);

await app.register(arc, {
  endpoint,
  prefix: '/of/:tenant',
  decorator: 'tenants',
  authenticate: (_request, { params }: FastifyRequest<{ Params: { tenant: string } }>) => ({ name: params.tenant }),
  sessionToken: ({ identity }) => (identity as User).name,
});

await app.register(
  arc,
  arc.options({
    endpoint,
    decorator: 'inferred',
    authenticate: (_request, { headers }) => ({ name: headers.authorization ?? '' }),
    authorize: ({ name }, agentId) => name.startsWith(agentId),
    sessionToken: ({ identity }) => identity.name,
  }),
);
// @ts-expect-error: an identity has no such property
arc.options({ endpoint, authenticate: () => ({ name: '' }), authorize: ({ nickname }) => nickname === '' });
// @ts-expect-error: neither endpoint nor client
arc.options({ path: '/ws' });

// @ts-expect-error: neither endpoint nor client
await app.register(arc, { path: '/ws' });
