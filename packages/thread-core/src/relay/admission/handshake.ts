import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { LogLimiter } from '../../log-limiter.js';
import type { RelaySocket, WsOptions } from '../connection/socket.js';
import type { RelayConfig } from '../options.js';
import type { Admission } from './refusal.js';
import { endUpgradeSocket } from './upgrade-socket.js';

/** The HTTP answer to a request that is not upgraded. */
export interface HttpAnswer {
  status: number;
  headers: Record<string, string>;
  body: { error: string };
}

/** The answer to a request that does not ask for a WebSocket. `Upgrade` needs `Connection` (RFC 9110, 7.8). */
export const NOT_AN_UPGRADE: HttpAnswer = {
  status: 426,
  headers: { connection: 'Upgrade, close', upgrade: 'websocket' },
  body: { error: 'Expected a WebSocket' },
};

/** The answer to a refused request. */
export function answerOf(admission: Admission): HttpAnswer | undefined {
  if ('identity' in admission) return undefined;
  const { status, message } = admission.refused;
  return { status, headers: { connection: 'close' }, body: { error: message } };
}

/** Completes WebSocket handshakes, and answers those that are refused. */
export class Handshake {
  readonly wsOptions: WsOptions;
  readonly #config: RelayConfig;
  readonly #limiter = new LogLimiter();
  #server: WebSocketServer | undefined;

  constructor(config: RelayConfig) {
    this.#config = config;
    this.wsOptions = {
      maxPayload: config.maxFrameBytes,
      // Deflate takes some 200 KiB a connection, for frames that are mostly short.
      perMessageDeflate: false,
      // A fragment keeps all that was read with it, which may be 64 KiB of other frames. Libraries make them of 4 to 16 KiB.
      maxFragments: 64 + Math.ceil(config.maxFrameBytes / 4096),
      // Each read keeps some 360 bytes besides its own. The segments of a slow network have 536 bytes or more.
      maxBufferedChunks: 1024 + Math.ceil(config.maxFrameBytes / 256),
      handleProtocols: (offered) => this.#selectProtocol(offered),
    };
  }

  /** Calls back with the WebSocket, in the same turn; a handshake that is not valid is answered by ws with a 4xx. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer, callback: (socket: RelaySocket) => void): void {
    // The relay keeps its sockets itself.
    this.#server ??= new WebSocketServer({ noServer: true, clientTracking: false, ...this.wsOptions });
    this.#server.handleUpgrade(request, socket, head, callback);
  }

  /** Answers an upgrade on its bare socket, which ends with the answer. */
  refuse(request: IncomingMessage, socket: Duplex, { status, headers, body }: HttpAnswer): void {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    response.on('finish', () => endUpgradeSocket(socket));
    const text = JSON.stringify(body);
    const type = 'application/json; charset=utf-8';
    response.writeHead(status, { ...headers, 'content-type': type, 'content-length': Buffer.byteLength(text) });
    response.end(text);
  }

  /** The first of the offered subprotocols that is spoken here. No other is ever echoed: it may be a token. */
  #selectProtocol(offered: Iterable<string>): string | false {
    const { protocols, logger } = this.#config;
    for (const protocol of offered) if (protocols.includes(protocol)) return protocol;
    const suppressed = this.#limiter.take('protocols');
    if (suppressed !== undefined) {
      const line = 'selected none of the subprotocols that a client offered: browsers close such a connection at once';
      logger.warn({ protocols, suppressed }, line);
    }
    return false;
  }
}
