import type { ClientState } from '@arc/thread-client';
import { byId } from './dom.js';

const MEANINGS: Readonly<Record<number, string>> = {
  1000: 'Closed',
  1001: 'The server is shutting down',
  1006: 'No connection to the server',
  1008: 'Refused by the server',
  1009: 'A message was too large',
  1011: 'The server failed',
  1012: 'The server restarts',
  1013: 'The server is full',
  4401: 'Not signed in',
  4403: 'This page may not connect',
  4408: 'Closed after a long silence',
  4409: 'Continued in another window',
  4429: 'Too many messages',
};

let countdown: number | undefined;

/** Says in words how the connection is, and when the next attempt will be. */
export function showStatus(state: ClientState): void {
  const element = byId('connection', HTMLElement);
  const detail = byId('connection-retry', HTMLElement);
  const isDown = state.status === 'waiting' || state.status === 'closed';
  element.dataset.state = state.status;
  clearInterval(countdown);
  detail.textContent = '';
  byId('reconnect', HTMLButtonElement).hidden = !isDown;
  byId('resumed', HTMLElement).hidden = !(state.status === 'open' && state.resumed);
  byId('connection-state', HTMLElement).textContent = describe(state);
  if (state.status === 'open' && !state.resumable) {
    detail.textContent = 'This server keeps no chats: they end with the connection.';
  }
  if (state.status !== 'waiting' || state.retryAt === undefined) return;
  const { retryAt } = state;
  // Apart from the state, which is read out: a number that changes each second is not.
  const tick = () => {
    detail.textContent = `Trying again in ${Math.max(1, Math.ceil((retryAt - Date.now()) / 1000))} s`;
  };
  tick();
  countdown = window.setInterval(tick, 1000);
}

function describe(state: ClientState): string {
  switch (state.status) {
    case 'connecting':
      return 'Connecting…';
    case 'resuming':
      return 'Reconnecting…';
    case 'open':
      return 'Connected';
    case 'waiting':
      return meaning(state.code);
    case 'closed':
      return meaning(state.error.code);
  }
}

function meaning(code: number): string {
  return `${MEANINGS[code] ?? 'The connection was closed'} (${code})`;
}
