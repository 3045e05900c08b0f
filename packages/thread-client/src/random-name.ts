/** The place of a relay follows, or the name of a tab. It changes with the form of what is stored. */
export const PREFIX = 'arc-threads:';

/** A random name, for telling tabs and clients apart. It is no secret. */
export function randomName(): string {
  return Math.random().toString(36).slice(2);
}
