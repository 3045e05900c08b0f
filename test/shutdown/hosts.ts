import type { Host } from '@arc/host-contract';

/**
 * Every host of the contract, on the adapters as they are built; each is loaded when it is asked for, so that a process
 * that is one of them starts without the others.
 */
export const hosts: Readonly<Record<string, () => Promise<Host>>> = {
  fastify: async () =>
    (await import('@arc/host-contract/hosts/fastify')).fastifyHost((await import('fastify-arc')).default),
  'express 5': async () => (await express()).express5Host((await import('express-arc')).default),
  'express 4': async () => (await express()).express4Host((await import('express-arc')).default),
  'express-ws': async () => (await express()).expressWsHost((await import('express-arc')).default, { verifies: false }),
  'express-ws with verifyClient': async () =>
    (await express()).expressWsHost((await import('express-arc')).default, { verifies: true }),
  'koa 3': async () => (await koa()).koa3Host((await import('koa-arc')).default),
  'koa 2': async () => (await koa()).koa2Host((await import('koa-arc')).default),
  'node:http': async () => (await import('@arc/host-contract/hosts/http')).httpHost(),
  ws: async () => (await import('@arc/host-contract/hosts/ws')).wsHost({ verifies: false }),
  'ws with verifyClient': async () => (await import('@arc/host-contract/hosts/ws')).wsHost({ verifies: true }),
};

const express = () => import('@arc/host-contract/hosts/express');
const koa = () => import('@arc/host-contract/hosts/koa');
