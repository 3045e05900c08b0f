/** A name that no other tab or client has, as good as certainly. It is no secret. */
export function randomName(): string {
  return Math.random().toString(36).slice(2);
}
