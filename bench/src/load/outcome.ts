/** The result of a batch. Times are in ms. */
export interface Outcome {
  count: number;
  elapsed: number;
  p50: number;
  p99: number;
}

export function outcomeOf(count: number, elapsed: number, latencies: Float64Array): Outcome {
  const sorted = latencies.sort();
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { count, elapsed, p50: at(0.5), p99: at(0.99) };
}
