import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * Gives a request to the server again as one that asks for no upgrade, body and all: as Node itself would have taken it
 * without a listener for upgrades (RFC 9110, 7.8: a server may ignore the field). Node has detached its HTTP parser from
 * the socket, so a parser reads the request's bytes once more, without the field.
 */
export function serveAsPlainRequest(server: Server, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    if (!/^(upgrade|http2-settings)$/i.test(name))
      lines.push(`${name}: ${withoutUpgrade(name, rawHeaders[index + 1] as string)}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit(socket instanceof TLSSocket ? 'secureConnection' : 'connection', socket);
}

/** Names in `Connection` are those of fields that are for this connection only. */
function withoutUpgrade(name: string, value: string): string {
  if (name.toLowerCase() !== 'connection') return value;
  const options = value.split(',').filter((option) => !/^\s*(upgrade|http2-settings)\s*$/i.test(option));
  return options.length === 0 ? 'keep-alive' : options.join(',');
}
