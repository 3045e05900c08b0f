import { parseArgs } from 'node:util';
import { FEATURES, type HostKind, RELAYS } from './hosts/kinds.js';

export interface Options {
  quick: boolean;
  /** Whether a workload or a family was requested. */
  isWanted(name: string): boolean;
  hosts: readonly HostKind[];
  prof: boolean;
  rounds: number;
  /** File name of the report, without extension. */
  name: string;
}

const HOSTS = [...RELAYS, ...FEATURES];

const USAGE = `npm run bench -- [options]
  --quick              smaller batches and fewer rounds, in two to three minutes
  --only <regex>       workloads whose full name, or family name, matches: json, json-64, 'stream|size'
  --hosts <list>       ${HOSTS.join(',')}
  --rounds <number>    number of measured rounds
  --prof               writes a CPU profile of each host and workload, and lists the most expensive functions
  --name <name>        writes bench/results/<name>.md; default: latest, or with any of the above: last
  --help`;

/** Reads the command line. Prints what is wrong with it, and exits. */
export function readOptions(args: readonly string[]): Options {
  try {
    return parse(args);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

function parse(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      hosts: { type: 'string' },
      rounds: { type: 'string' },
      prof: { type: 'boolean', default: false },
      name: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const { quick, prof, only } = values;
  const asked = values.hosts?.split(',') ?? HOSTS;
  const unknown = asked.find((host) => !HOSTS.some((kind) => kind === host));
  if (unknown !== undefined) throw new Error(`--hosts: "${unknown}" is unknown`);
  const rounds = Number(values.rounds ?? (quick ? 4 : 12));
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000)
    throw new Error('--rounds: must be an integer from 1 to 1000');
  const pattern = only === undefined ? undefined : new RegExp(`^(?:${only})$`);
  return {
    quick,
    prof,
    rounds,
    // All other hosts are compared with the floor.
    hosts: HOSTS.filter((kind) => kind === 'floor' || asked.includes(kind)),
    isWanted: (name) => pattern === undefined || pattern.test(name),
    name: values.name ?? (args.length === 0 ? 'latest' : 'last'),
  };
}
