/** The environment variables of the examples. */
export interface Environment {
  /** 0 lets the system choose a free one. */
  port: number;
  host: string;
  /** The names of this machine where only this machine can connect, so that no page of another name can (DNS rebinding). */
  allowedHosts: readonly string[] | undefined;
  /** The agent server to talk to; without one, an embedded example agent is started. */
  endpoint: string | undefined;
  /** The token for `endpoint`. */
  token: string | undefined;
  /** The ids of the agents that the page offers. */
  agents: readonly string[];
  /** Whether answers are streamed, until the page's own switch says otherwise. */
  stream: boolean;
}

/** A wrong setting of the example. Only its message is printed. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const LOOPBACK_HOSTS: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];

const EMBEDDED_AGENTS: readonly string[] = ['support', 'finance', 'hr'];

/**
 * Reads PORT, HOST, ARC_ENDPOINT, ARC_TOKEN, ARC_AGENTS and ARC_STREAM. An empty variable counts as unset.
 * @throws {UsageError} that names every variable with a wrong value.
 */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>> = process.env): Environment {
  const problems: string[] = [];
  const read = <Value>(name: string, fallback: Value, parse: (text: string) => Value | undefined, wanted: string) => {
    const text = variables[name]?.trim() ?? '';
    if (text === '') return fallback;
    const value = parse(text);
    if (value !== undefined) return value;
    // A token that is wrong is still a secret.
    problems.push(name === 'ARC_TOKEN' ? `${name} must be ${wanted}` : `${name} must be ${wanted}, not "${text}"`);
    return fallback;
  };

  const port = read('PORT', 3000, parsePort, 'a port number from 0 to 65535');
  const host = read('HOST', '127.0.0.1', parseHost, 'an address or a host name, without a port');
  const endpoint = read('ARC_ENDPOINT', undefined, parseEndpoint, 'the http:// or https:// address of an agent server');
  const token = read('ARC_TOKEN', undefined, parseToken, 'a token of visible ASCII characters');
  const agents = read(
    'ARC_AGENTS',
    EMBEDDED_AGENTS,
    parseAgents,
    'agent ids of at most 256 characters, with commas between them',
  );
  const stream = read('ARC_STREAM', true, parseSwitch, 'true or false');

  if (token !== undefined && (variables.ARC_ENDPOINT ?? '').trim() === '')
    problems.push('ARC_TOKEN is set, but not the ARC_ENDPOINT that it is for');
  if (problems.length > 0) throw new UsageError(problems.join('\n'));
  const isLoopback = ['localhost', '127.0.0.1', '::1'].includes(host);
  return { port, host, allowedHosts: isLoopback ? LOOPBACK_HOSTS : undefined, endpoint, token, agents, stream };
}

function parsePort(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}

function parseHost(text: string): string | undefined {
  return /^[\w.:%-]+$/.test(text) && !/^[^:]+:\d*$/.test(text) ? text : undefined;
}

function parseEndpoint(text: string): string | undefined {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? text : undefined;
}

function parseToken(text: string): string | undefined {
  return /^[\x21-\x7e]+$/.test(text) ? text : undefined;
}

function parseAgents(text: string): string[] | undefined {
  const ids = [...new Set(text.split(',').map((id) => id.trim()))];
  return ids.every((id) => id !== '' && id.length <= 256) ? ids : undefined;
}

function parseSwitch(text: string): boolean | undefined {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  return /^(false|0|no|off)$/i.test(text) ? false : undefined;
}
