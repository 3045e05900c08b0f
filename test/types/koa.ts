// What an application writes on koa-arc, which test/types.test.ts compiles as its users may: it is never run.
import Koa from 'koa';
import arc from 'koa-arc';

const endpoint = 'http://127.0.0.1:8000/arc';
const app = new Koa();

const agents = arc({
  app,
  endpoint,
  authenticate: (_request, ctx) => ctx.get('authorization'),
  authorize: (identity, agentId) => identity.startsWith(agentId),
});
app.use(agents).use((ctx) => {
  ctx.body = ctx.arc.stats().sessions;
});
const identities: string[] = [...agents.relay.sessions].map(({ identity }) => identity);
app.use(arc({ app, path: '/other', endpoint, allowedOrigins: identities }));

// @ts-expect-error: neither endpoint nor client
arc({ app });
