import type { Spread } from '../measure/stats.js';

/** Three significant digits, or all digits before the point. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value >= 100) return Math.round(value).toLocaleString('en');
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** `1.12 (1.10–1.15)`: the median and the quartiles. */
export function spread({ median, low, high }: Spread, digits = number): string {
  return `${digits(median)} (${digits(low)}–${digits(high)})`;
}

export function ratio(value: Spread | undefined): string {
  return value === undefined ? '' : `${spread(value, (of) => of.toFixed(2))} ×`;
}

export function mebibytes(bytes: number): string {
  return number(bytes / 1024 ** 2);
}

export function kibibytes(bytes: number): string {
  return (bytes / 1024).toFixed(1);
}

/** Whether a goal is met, in words. */
export function verdict(value: number | undefined, goal: number | undefined): string {
  if (value === undefined || goal === undefined || !Number.isFinite(value)) return '';
  return value <= goal ? `≤ ${goal}: met` : `≤ ${goal}: **missed**`;
}
