import expressArc from 'express-arc';
import fastifyArc from 'fastify-arc';
import koaArc from 'koa-arc';
import type { Host } from '../contract/host.js';
import { onExpress4, onExpress5, onExpressWs } from '../contract/hosts/express.js';
import { onFastify } from '../contract/hosts/fastify.js';
import { onKoa2, onKoa3 } from '../contract/hosts/koa.js';
import { onWs } from '../contract/hosts/ws.js';

/** Every host of the contract, on the adapters as they are built. */
export const hosts: readonly Host[] = [
  onFastify(fastifyArc),
  onExpress5(expressArc),
  onExpress4(expressArc),
  onExpressWs(expressArc, { verifies: false }),
  onExpressWs(expressArc, { verifies: true }),
  onKoa3(koaArc),
  onKoa2(koaArc),
  onWs({ asks: false }),
];
