import { type Fault, KINDS, type Kind, type Outcome, WHENS } from './cell.js';

/** What came of a cell; a string says why there can be none. */
export interface Row {
  fault: Fault;
  when: keyof typeof WHENS;
  kind: Kind;
  how: string;
  outcome: Outcome | undefined;
}

const INTRO = `# What comes of each fault

Made by \`matrix.test.ts\`: a run writes it anew, and fails where a cell is not as that test expects; with \`CI=true\` it
fails where this file is not what it would write. Every row is one WebSocket client, one relay and one agent, over real
sockets. The client sends to the agent that has the fault, asks for a JSON answer or a stream, and at the same time sends
to another agent over the same socket. Then the agent is well again, the client sends to it once more, and goes without a
word.

- **The client is told**: the frames of that send, and of a second one in the same chat where the fault comes after the
  first one's answer.
- **The agent sees**: the sends that reached it while it had the fault, and how many of them it saw closed by the relay.
- **Left open**: chats that were still open at the agent in the end. **Unended**: sends without a last frame.
- **Other**, **again**: what ended the send to the other agent, and the one to this agent when it was well again.
- **–**: there can be no such case; the reason stands beside it.
`;

export function render(rows: Row[]): string {
  const parts = [INTRO];
  for (const fault of new Set(rows.map(({ fault }) => fault))) {
    parts.push(`## ${fault.name[0]?.toUpperCase()}${fault.name.slice(1)}\n`);
    if (fault.about !== undefined) parts.push(`${fault.about}\n`);
    parts.push('| when | answer | how | the client is told | the agent sees | left open | unended | other | again |');
    parts.push('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
    parts.push(
      `${rows
        .filter((row) => row.fault === fault)
        .map(line)
        .join('\n')}\n`,
    );
  }
  return parts.join('\n');
}

function line({ when, kind, how, outcome }: Row): string {
  const cells = outcome === undefined ? ['–', '–', '–', '–', '–', '–'] : describe(outcome);
  return `| ${[WHENS[when], kind, how, ...cells].join(' | ')} |`;
}

function describe({ told, requests, aborted, open, unended, other, again }: Outcome): string[] {
  const sends = requests === 1 ? '1 send' : `${requests} sends`;
  return [told, aborted === 0 ? sends : `${sends}, ${aborted} aborted`, `${open}`, `${unended}`, other, again];
}

/** All rows in the order of the matrix. */
export function* cellsOf(faults: Fault[]): Generator<Pick<Row, 'fault' | 'when' | 'kind'>> {
  for (const fault of faults)
    for (const when of Object.keys(WHENS) as (keyof typeof WHENS)[])
      for (const kind of KINDS) yield { fault, when, kind };
}
