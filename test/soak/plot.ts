/** One measurement. */
export interface Point {
  minute: number;
  /** Used heap of the relay in MB, after garbage collection. */
  heap: number;
}

/** Slope in MB per minute by least squares, without the first point, which precedes compilation and caching. */
function slope(points: readonly Point[]): number {
  const some = points.slice(1);
  if (some.length < 2) return 0;
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = mean(some.map(({ minute }) => minute));
  const y = mean(some.map(({ heap }) => heap));
  const above = some.reduce((sum, { minute, heap }) => sum + (minute - x) * (heap - y), 0);
  return above / some.reduce((sum, { minute }) => sum + (minute - x) ** 2, 0);
}

/** Flat means that over the run the fitted line rises by less than 3 MB, or less than a tenth of the heap. */
export function verdict(points: readonly Point[]): { isFlat: boolean; text: string } {
  const rise = slope(points) * Math.max(points.length - 2, 1);
  const isFlat = rise < Math.max(3, (points[1]?.heap ?? 0) / 10);
  return { isFlat, text: `${isFlat ? 'flat' : 'growing'}: ${rise.toFixed(2)} MB in ${points.length - 1} minutes` };
}

/** Draws the points and the verdict as an SVG. */
export function draw(points: readonly Point[]): string {
  const [width, height, left, bottom] = [720, 300, 50, 30];
  const most = Math.ceil(Math.max(...points.map(({ heap }) => heap), 1) * 1.25);
  const last = Math.max(points.at(-1)?.minute ?? 1, 1);
  const x = (minute: number): number => left + (minute / last) * (width - left - 20);
  const y = (heap: number): number => height - bottom - (heap / most) * (height - bottom - 40);
  const line = points.map(({ minute, heap }) => `${x(minute).toFixed(1)},${y(heap).toFixed(1)}`).join(' ');
  const dots = points.map(
    ({ minute, heap }) => `<circle cx="${x(minute).toFixed(1)}" cy="${y(heap).toFixed(1)}" r="3"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    `<text x="${left}" y="20">Heap of the relay after garbage collection, in MB per minute: ${verdict(points).text}</text>`,
    `<path d="M${left} 30V${height - bottom}H${width - 20}" fill="none" stroke="black"/>`,
    `<text x="8" y="${y(most * 0.8) + 4}">${(most * 0.8).toFixed(0)}</text><text x="8" y="${y(0) + 4}">0</text>`,
    `<text x="${left}" y="${height - 8}">0</text><text x="${width - 40}" y="${height - 8}">${last}</text>`,
    `<polyline points="${line}" fill="none" stroke="steelblue" stroke-width="2"/><g fill="steelblue">${dots.join('')}</g>`,
    '</svg>\n',
  ].join('\n');
}
