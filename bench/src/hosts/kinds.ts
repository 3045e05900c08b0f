import type { Endpoints } from './options.js';

type Start = (endpoints: Endpoints) => Promise<number>;

/** Every host, and how its process starts it. Only the requested module is loaded. */
const KINDS = {
  floor: { path: '/', load: async (): Promise<Start> => (await import('./floor.js')).start },
  plain: { path: '/', load: async (): Promise<Start> => (await import('./plain.js')).start },
  core: { path: '/', load: async (): Promise<Start> => (await import('./core.js')).start },
  fastify: { path: '/ws', load: async (): Promise<Start> => (await import('./fastify.js')).start },
  express: { path: '/ws', load: async (): Promise<Start> => (await import('./express.js')).start },
  koa: { path: '/ws', load: async (): Promise<Start> => (await import('./koa.js')).start },
  'resume-unused': { path: '/', load: async (): Promise<Start> => (await import('./features.js')).startResume },
  resume: { path: '/?resume', load: async (): Promise<Start> => (await import('./features.js')).startResume },
  cut: {
    path: '/?resume&cut',
    load: async (): Promise<Start> => (await import('./features.js')).startResumableCluster,
  },
  cluster: { path: '/', load: async (): Promise<Start> => (await import('./features.js')).startCluster },
  traced: { path: '/', load: async (): Promise<Start> => (await import('./features.js')).startTraced },
  untraced: { path: '/', load: async (): Promise<Start> => (await import('./untraced.js')).start },
  'ws echo': { path: '/', load: async (): Promise<Start> => (await import('./echo.js')).startWs },
  'fastify echo': { path: '/ws', load: async (): Promise<Start> => (await import('./echo.js')).startFastify },
  'express echo': { path: '/ws', load: async (): Promise<Start> => (await import('./echo.js')).startExpress },
  'koa echo': { path: '/', load: async (): Promise<Start> => (await import('./echo.js')).startKoa },
};

export type HostKind = keyof typeof KINDS;

/** The hosts that relay. The others are the baselines of idle connections. */
export const RELAYS: readonly HostKind[] = ['floor', 'plain', 'core', 'fastify', 'express', 'koa'];

/** The core with one more feature each. They are compared with the core. */
export const FEATURES: readonly HostKind[] = ['resume-unused', 'resume', 'cut', 'cluster', 'traced'];

/** What an idle connection is compared with: the echo server on the same framework, and for a resumable session the core. */
export const ECHO: Partial<Record<HostKind, HostKind>> = {
  floor: 'ws echo',
  core: 'ws echo',
  fastify: 'fastify echo',
  express: 'express echo',
  koa: 'koa echo',
  resume: 'core',
};

export function pathOf(kind: HostKind): string {
  return KINDS[kind].path;
}

export async function startHost(kind: HostKind, endpoints: Endpoints): Promise<number> {
  const start = await KINDS[kind].load();
  return start(endpoints);
}
