/** Sets an entry of a map that drops its oldest one beyond `most`. */
export function setBounded<Value>(map: Map<string, Value>, key: string, value: Value, most: number): void {
  // Inserted again, so that the first entry is the oldest.
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > most && oldest !== undefined) map.delete(oldest);
}
