import { invokeHook } from './hooks.js';

/** Where the relay writes its log: the part of pino's interface that it uses. */
export interface Logger {
  debug(about: object, message: string): void;
  info(about: object, message: string): void;
  warn(about: object, message: string): void;
  error(about: object, message: string): void;
}

const nothing = (): void => {};

/** Writes nothing: the default. */
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

type Level = keyof Logger;

/** The application's logger. What it throws is dropped, because there is nowhere to log it. */
class GuardedLogger implements Logger {
  readonly #logger: Partial<Logger>;

  constructor(logger: Partial<Logger>) {
    this.#logger = logger;
  }

  debug(about: object, message: string): void {
    this.#write('debug', about, message);
  }

  info(about: object, message: string): void {
    this.#write('info', about, message);
  }

  warn(about: object, message: string): void {
    this.#write('warn', about, message);
  }

  error(about: object, message: string): void {
    this.#write('error', about, message);
  }

  #write(level: Level, about: object, message: string): void {
    invokeHook(() => this.#logger[level]?.(about, message), nothing);
  }
}

/** A logger that never throws, whatever the given one does, and that may lack levels. Guarding twice costs nothing. */
export function guardLogger(logger: Partial<Logger>): Logger {
  return logger === silentLogger || logger instanceof GuardedLogger ? (logger as Logger) : new GuardedLogger(logger);
}
