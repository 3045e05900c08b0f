/** A random name, for telling tabs and clients apart. It is no secret. */
export function randomName(): string {
  return Math.random().toString(36).slice(2);
}
