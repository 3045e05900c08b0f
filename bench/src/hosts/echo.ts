import { createServer, type IncomingMessage } from 'node:http';
import websocket from '@fastify/websocket';
import express from 'express';
import expressWs from 'express-ws';
import fastify from 'fastify';
import Koa from 'koa';
import koaEasyWs from 'koa-easy-ws';
import { type WebSocket, WebSocketServer } from 'ws';
import { listen } from './listen.js';

/** The baseline for the memory of an idle session: a WebSocket of each framework that echoes what it receives. */

const wsOptions = { perMessageDeflate: false };

function echo(socket: WebSocket): void {
  socket.on('message', (data) => socket.send(data, { binary: false }));
}

export function startWs(): Promise<number> {
  const server = createServer();
  new WebSocketServer({ server, clientTracking: false, ...wsOptions }).on('connection', echo);
  return listen(server);
}

export async function startFastify(): Promise<number> {
  const app = fastify();
  await app.register(websocket, { options: wsOptions });
  app.register(async (scope) => {
    scope.get('/ws', { websocket: true }, echo);
  });
  await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  return listen(app.server);
}

export function startExpress(): Promise<number> {
  const { app } = expressWs(express(), undefined, { wsOptions });
  app.ws('/ws', (socket: unknown) => echo(socket as WebSocket));
  return listen(app.listen(0, '127.0.0.1', 4096) as ReturnType<typeof createServer>);
}

/** Its type declaration has a default export, which the CommonJS module does not have. */
const easyWebsocket = koaEasyWs as unknown as typeof koaEasyWs.default;

export function startKoa(): Promise<number> {
  const app = new Koa();
  app.use(easyWebsocket('ws', { wsOptions }));
  app.use(async (ctx: Koa.Context & { ws?: () => Promise<WebSocket>; req: IncomingMessage }) => {
    if (ctx.ws !== undefined) echo(await ctx.ws());
  });
  return listen(app.listen(0, '127.0.0.1', 4096));
}
