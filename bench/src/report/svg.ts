/** Grouped bars as an SVG. */

interface Bar {
  label: string;
  value: number;
  low: number;
  high: number;
}

export interface Group {
  label: string;
  bars: readonly Bar[];
}

const COLOURS: Record<string, string> = {
  floor: '#8a8f98',
  core: '#2563eb',
  fastify: '#059669',
  express: '#d97706',
  koa: '#9333ea',
};
const OTHER = '#c7cbd1';

const HEIGHT = 320;
const TOP = 48;
const BOTTOM = 56;
const LEFT = 56;
const BAR = 22;
const GAP = 26;

/** The whiskers show the quartiles. */
export function barPlot(title: string, unit: string, groups: readonly Group[]): string {
  const most = Math.max(...groups.flatMap(({ bars }) => bars.map(({ high }) => high)).filter(Number.isFinite), 1e-9);
  const step = niceStep(most / 5);
  const top = Math.ceil(most / step) * step;
  const y = (value: number): number => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const parts: string[] = [];
  const names = [...new Set(groups.flatMap(({ bars }) => bars.map(({ label }) => label)))];
  let x = LEFT + GAP / 2;
  for (const { label, bars } of groups) {
    const from = x;
    for (const bar of bars) {
      parts.push(drawBar(x, bar, y));
      x += BAR;
    }
    parts.push(text((from + x) / 2, HEIGHT - BOTTOM + 16, label, 'middle'));
    x += GAP;
  }
  const width = Math.max(x, LEFT + names.length * 90);
  const lines: string[] = [];
  for (let value = 0; value <= top + step / 2; value += step) {
    lines.push(`<line x1="${LEFT}" x2="${width}" y1="${y(value)}" y2="${y(value)}" stroke="#e5e7eb"/>`);
    lines.push(text(LEFT - 6, y(value) + 4, Number(value.toPrecision(4)).toLocaleString('en'), 'end'));
  }
  const legend = names.flatMap((name, index) => [
    `<rect x="${LEFT + index * 90}" y="${HEIGHT - 22}" width="10" height="10" fill="${COLOURS[name] ?? OTHER}"/>`,
    text(LEFT + 14 + index * 90, HEIGHT - 13, name),
  ]);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width + 12} ${HEIGHT}" width="${width + 12}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="11" fill="#374151">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="12" y="20" font-size="14" font-weight="600">${escapeXml(title)}</text>`,
    text(12, 36, unit),
    ...lines,
    ...parts,
    ...legend,
    '</svg>',
    '',
  ].join('\n');
}

function drawBar(x: number, { label, value, low, high }: Bar, y: (value: number) => number): string {
  if (!Number.isFinite(value)) return '';
  const middle = x + BAR / 2 - 1;
  const box = `<rect x="${x}" y="${y(value)}" width="${BAR - 2}" height="${y(0) - y(value)}" fill="${COLOURS[label] ?? OTHER}"/>`;
  const whisker = `<line x1="${middle}" x2="${middle}" y1="${y(low)}" y2="${y(high)}" stroke="#111827"/>`;
  return box + whisker;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end' = 'start'): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least) ?? power * 10;
}
