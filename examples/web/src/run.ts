import { once } from 'node:events';
import type { Server } from 'node:http';
import { UsageError } from './environment.js';

export interface RunningExample {
  /** The HTTP server, listening or about to. */
  server: Server;
  /** What is to be closed when the example stops, one after the other, in this order. */
  close: ReadonlyArray<() => unknown>;
}

/** Ctrl-C under npm arrives twice within a few milliseconds: from the terminal, and passed on by npm. */
const SAME_KEY_PRESS = 250;

/**
 * Starts an example, says where it can be opened, and stops it on SIGINT or SIGTERM: the first closes everything, which
 * ends the process with 0; a second one exits at once. What cannot be started is said in a line, and exits with 1.
 */
export async function runUntilSignal(start: () => Promise<RunningExample>): Promise<void> {
  try {
    const { server, close } = await start();
    if (!server.listening) await once(server, 'listening');
    stopOnSignal(close);
    console.log(`Open ${addressOf(server)}`);
  } catch (error) {
    console.error(explain(error));
    process.exit(1);
  }
}

function stopOnSignal(close: RunningExample['close']): void {
  let stoppingSince: number | undefined;
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince > SAME_KEY_PRESS) process.exit(signal === 'SIGINT' ? 130 : 143);
      return;
    }
    stoppingSince = performance.now();
    try {
      // With everything closed nothing keeps the process: it ends by itself, with 0.
      for (const step of close) await step();
    } catch (error) {
      console.error(error);
      process.exit(1);
    }
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}

/** Closes a server. Browsers open connections in advance, which would hold it for a minute: those are dropped. */
export async function closeServer(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
}

function addressOf(server: Server): string {
  const address = server.address();
  if (address === null || typeof address === 'string') return String(address);
  const everywhere = address.address === '0.0.0.0' || address.address === '::';
  const host = everywhere ? 'localhost' : address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}

function explain(error: unknown): unknown {
  if (error instanceof UsageError) return error.message;
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return error;
  const { code, port, address } = error as NodeJS.ErrnoException & { port?: number; address?: string };
  switch (code) {
    case 'EADDRINUSE':
      return `Port ${port} on ${address} is in use. Stop what uses it, or choose another: PORT=${(port ?? 3000) + 1} npm start`;
    case 'EACCES':
      return `Port ${port} on ${address} may not be used by this user. Choose one above 1023: PORT=3000 npm start`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `HOST is not an address of this machine: try HOST=127.0.0.1 npm start`;
    default:
      return error;
  }
}
