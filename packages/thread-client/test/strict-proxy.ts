import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';

/** A WebSocket proxy that drops a connection, without a close frame, when a client sends a message that it does not want. */
export class StrictProxy {
  readonly #server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  /** Connections that were dropped. */
  drops = 0;

  private constructor(target: string, isWanted: (text: string) => boolean) {
    this.#server.on('connection', (client) => {
      const relay = new WebSocket(target);
      const opened = once(relay, 'open').catch(() => undefined);
      client.on('message', async (data) => {
        const text = String(data);
        await opened;
        // What comes behind a message that is not wanted does not pass, either.
        if (relay.readyState !== WebSocket.OPEN) return;
        if (isWanted(text)) return relay.send(text);
        this.drops += 1;
        relay.terminate();
      });
      relay.on('message', (data) => client.send(String(data)));
      relay.on('close', () => client.terminate());
      client.on('close', () => relay.terminate());
      for (const socket of [client, relay]) socket.on('error', () => undefined);
    });
  }

  static async start(target: string, isWanted: (text: string) => boolean): Promise<StrictProxy> {
    const proxy = new StrictProxy(target, isWanted);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  async close(): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
