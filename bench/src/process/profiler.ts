import { writeFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector/promises';

let session: Session | undefined;

export async function startProfile(): Promise<void> {
  session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 500 });
  await session.post('Profiler.start');
}

/** A function with its location, and its share of the time, callees excluded. */
export interface SelfTime {
  name: string;
  share: number;
}

/** Writes the profile for Chrome's developer tools, and returns the most expensive functions. */
export async function stopProfile(file: string): Promise<SelfTime[]> {
  if (session === undefined) return [];
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  session = undefined;
  writeFileSync(file, JSON.stringify(profile));
  return selfTimes(profile);
}

function selfTimes({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): SelfTime[] {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, describe(callFrame)]));
  const times = new Map<string, number>();
  samples.forEach((node, index) => {
    const name = names.get(node) ?? '';
    times.set(name, (times.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  });
  times.delete('(idle)');
  const total = [...times.values()].reduce((sum, micros) => sum + micros, 0);
  return [...times]
    .map(([name, micros]) => ({ name, share: micros / total }))
    .sort((one, other) => other.share - one.share);
}

function describe({ functionName, url, lineNumber }: Profiler.ProfileNode['callFrame']): string {
  const place = url === '' ? '' : ` ${url.split('/').slice(-2).join('/')}:${lineNumber + 1}`;
  return `${functionName || '(anonymous)'}${place}`;
}
