import type { RelayConfig } from '../options.js';

/** Called at each sweep. `pings`: a heartbeat is due. `idleSweeps`: sweeps without activity that make a session idle; 0: never. */
export type SweepListener = (pings: boolean, idleSweeps: number) => void;

/** One timer for the heartbeats and idle timeouts of all sessions. It runs only while there are sessions. */
export class Sweeper {
  /** Sweeps so far: a clock that costs nothing to read. */
  sweeps = 0;
  readonly #config: Pick<RelayConfig, 'heartbeat' | 'idleTimeout'>;
  readonly #listener: SweepListener;
  #timer: NodeJS.Timeout | undefined;

  constructor(config: Pick<RelayConfig, 'heartbeat' | 'idleTimeout'>, listener: SweepListener) {
    this.#config = config;
    this.#listener = listener;
  }

  start(): void {
    const { heartbeat, idleTimeout } = this.#config;
    if (this.#timer !== undefined || (heartbeat === 0 && idleTimeout === 0)) return;
    // A fraction of the heartbeat: pings stay on time, and idleness is noticed soon enough.
    const parts = idleTimeout > 0 && heartbeat > 0 ? Math.ceil(heartbeat / (idleTimeout / 4)) : 1;
    const interval = heartbeat > 0 ? heartbeat / parts : idleTimeout / 4;
    // One more than fits: the last activity was some time after a sweep.
    const idleSweeps = idleTimeout > 0 ? Math.ceil(idleTimeout / interval) + 1 : 0;
    this.#timer = setInterval(() => {
      this.sweeps += 1;
      this.#listener(heartbeat > 0 && this.sweeps % parts === 0, idleSweeps);
    }, interval);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
