import { channel } from 'node:diagnostics_channel';

/** What undici publishes when it makes a request: the headers are names and values in turn. */
interface UndiciRequest {
  headers: unknown;
  addHeader?: (name: string, value: string) => unknown;
}

const requestCreated = channel('undici:request:create');

/**
 * Keeps another instrumentation of undici from sending the headers of a trace a second time. The request has ours; the other
 * one, whose span is inside ours, adds its own. Its headers then stand alone, whichever of the two subscribed first.
 */
export class UndiciHeaders {
  /** Names in lower case, while a request of ours is being made. */
  #names: ReadonlySet<string> | undefined;
  readonly #onRequest = (message: unknown): void => {
    const names = this.#names;
    // The first request that is made now is ours.
    this.#names = undefined;
    if (names !== undefined) keepLast((message as { request: UndiciRequest }).request, names);
  };

  enable(): void {
    requestCreated.subscribe(this.#onRequest);
  }

  disable(): void {
    requestCreated.unsubscribe(this.#onRequest);
  }

  /** Runs what makes a request with these headers. */
  around(names: ReadonlySet<string>, send: () => void): void {
    this.#names = names;
    try {
      send();
    } finally {
      this.#names = undefined;
    }
  }
}

/** Leaves of each of these headers the one that was added last, now and when more are added. */
function keepLast(request: UndiciRequest, names: ReadonlySet<string>): void {
  const { headers, addHeader } = request;
  if (!Array.isArray(headers)) return;
  const seen = new Set<string>();
  for (let index = headers.length - 2; index >= 0; index -= 2) {
    const name = String(headers[index]).toLowerCase();
    if (!names.has(name)) continue;
    if (seen.has(name)) headers.splice(index, 2);
    seen.add(name);
  }
  if (addHeader === undefined) return;
  request.addHeader = (name, value) => {
    if (names.has(name.toLowerCase())) remove(headers, name.toLowerCase());
    return addHeader.call(request, name, value);
  };
}

function remove(headers: unknown[], name: string): void {
  for (let index = headers.length - 2; index >= 0; index -= 2) {
    if (String(headers[index]).toLowerCase() === name) headers.splice(index, 2);
  }
}
