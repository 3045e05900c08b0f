// What an application writes on express-arc, which test/types.test.ts compiles as its users may: it is never run.
import express, { type Request } from 'express';
import arc from 'express-arc';

interface User {
  name: string;
}
type Known = Request & { user?: User };
const endpoint = 'http://127.0.0.1:8000/arc';
const app = express();

const agents = arc({
  endpoint,
  authenticate: (_request, req) => req.get('authorization'),
  authorize: (identity, agentId) => identity.startsWith(agentId),
});
app.use('/ws', agents);
agents.attach(app.listen(3000), { path: '/ws' });
const identities: string[] = [...agents.relay.sessions].map(({ identity }) => identity);

/** The request as the app's own middleware leaves it, and that of a route with parameters. */
app.use(
  '/users',
  arc({ endpoint, authenticate: (_request, req: Known) => req.user, authorize: ({ name }) => name !== '' }),
);
app.use(
  '/of/:tenant/ws',
  arc({ endpoint, authenticate: (_request, req: Request<{ tenant: string }>) => req.params.tenant.trim() }),
);
app.use(express.Router().use('/ws', arc({ app, path: '/ws', endpoint, allowedOrigins: identities })));

// @ts-expect-error: neither endpoint nor client
arc({});
