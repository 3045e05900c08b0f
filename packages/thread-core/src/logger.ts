/** Where the relay writes its log: pino's interface, of which it uses this much. */
export interface Logger {
  debug(about: object, message: string): void;
  info(about: object, message: string): void;
  warn(about: object, message: string): void;
  error(about: object, message: string): void;
}

const nothing = (): void => {};

/** Writes nothing: what is used where no logger is given. */
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };
