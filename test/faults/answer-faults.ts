import { faults, type ScriptedAnswer } from '@arc/thread-core/testing';
import type { Cell, Fault, Kind, World } from './cell.js';
import { BROKEN, HALF, next, REPLY, WHOLE } from './connection-faults.js';

const EVENT = 'event: stream\ndata: {"n":1}\n\n';
const DONE = 'event: done\ndata: {}\n\n';
const ENVELOPE = JSON.stringify({ arc: '1.0', id: 1, result: { type: 'chat', chat: { chatId: 'c' } }, error: null });
const CHUNK = Buffer.alloc(1024 * 1024, ' ');
const HUNDRED = 100 * 1024 * 1024;

/** A cell in which the agent's answer is the fault. */
function answered(how: string, answer: ScriptedAnswer, told: string, requests = 1, aborted = 0): Cell {
  return { how, arrange: ({ agent }) => agent.script({ agentId: 'faulty' }, answer), told, requests, aborted };
}

/** A cell in which the answer is correct, and the answer to the next send is the fault. */
function later(kind: Kind, how: string, answer: ScriptedAnswer, requests = 2): Cell {
  const script = ({ agent }: World): void => agent.script({ agentId: 'faulty' }, answer);
  return next(kind, how, script, 'error −41003', requests);
}

/** A complete HTTP answer that ends by closing its connection. */
function http(type: string, body: string): ScriptedAnswer {
  return { raw: [`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\nconnection: close\r\n\r\n${body}`] };
}

function* after100MB(...first: string[]): Generator<string | Buffer> {
  yield* first;
  for (let sent = 0; sent < HUNDRED; sent += CHUNK.length) yield CHUNK;
}

function* endless(...first: string[]): Generator<string> {
  yield* first;
  yield 'event: stream\ndata: ';
  for (;;) yield 'x'.repeat(65_536);
}

const json = (body: string): ScriptedAnswer => http('application/arc+json', body);
const head = (type: string, more = ''): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\nconnection: close\r\n${more}\r\n`;
const noStatus = 'the status line and the headers precede the body';

export const answerFaults: Fault[] = [
  {
    name: 'truncated stream',
    about: 'The HTTP message is complete, but its content is not.',
    before: () => answered('an empty body', { reply: '', after: 0 }, 'error −41003'),
    // The last event of a stream may lack its blank line, which cannot be distinguished from a truncated event.
    middle: (kind) =>
      kind === 'JSON'
        ? answered('the body stops halfway', { reply: REPLY.JSON, after: HALF.JSON }, BROKEN.JSON)
        : answered(
            'the body stops inside an event; the first half is forwarded as text',
            { reply: REPLY.stream, after: HALF.stream },
            'content ×2, error −43104',
          ),
    after: (kind) =>
      kind === 'JSON'
        ? 'complete JSON is not truncated'
        : answered(
            "the last event's blank line is missing",
            { events: [{ data: 1 }, { event: 'done' }], finalBlankLine: false },
            'content, done',
          ),
  },
  {
    name: 'malformed JSON',
    before: (kind) =>
      kind === 'JSON'
        ? answered('invalid characters before the envelope', json(`)]}'\n${ENVELOPE}`), 'error −41003')
        : answered(
            'the data of the first event',
            { events: ['event: stream\ndata: {"n":\n\n', EVENT] },
            'content ×2, done',
          ),
    middle: (kind) =>
      kind === 'JSON'
        ? answered('an extra comma', json(ENVELOPE.replace('"id"', ',"id"')), 'error −41003')
        : answered(
            'the data of another event',
            { events: [EVENT, 'event: stream\ndata: {n}\n\n'] },
            'content ×2, done',
          ),
    after: (kind) =>
      kind === 'JSON'
        ? answered('invalid characters after the envelope', json(`${ENVELOPE}}`), 'error −41003')
        : answered(
            'the data of `done`',
            { events: [EVENT, 'event: done\ndata: {"chatId"\n\n'], done: false },
            'content, done',
          ),
  },
  {
    name: 'HTML 502',
    before: () => answered('the error page of a proxy', faults.html(502), 'error −41003'),
    middle: (kind) =>
      kind === 'JSON'
        ? answered('the page follows half an envelope', json(`${ENVELOPE.slice(0, 30)}<html>502</html>`), BROKEN.JSON)
        : answered('the page follows an event', http('text/event-stream', `${EVENT}<html>502</html>`), BROKEN.stream),
    after: (kind) => later(kind, 'the next answer is the error page of a proxy', faults.html(502)),
  },
  {
    name: 'empty 500',
    before: () => answered('no body', faults.empty(500), 'error −41003'),
    middle: () => noStatus,
    after: (kind) => later(kind, 'the next answer has no body', faults.empty(500)),
  },
  {
    name: 'wrong content type',
    before: (kind) =>
      kind === 'JSON'
        ? answered('the envelope is text/plain', faults.contentType('text/plain'), 'response')
        : answered('the stream is text/plain', faults.contentType('text/plain'), 'error −41003'),
    middle: () => noStatus,
    after: (kind) =>
      kind === 'JSON'
        ? {
            ...later(kind, 'the next envelope is text/event-stream', faults.contentType('text/event-stream')),
            told: 'response · then error −41003',
          }
        : later(kind, 'the next stream is text/plain', faults.contentType('text/plain')),
  },
  {
    name: '100 MB body',
    before: () =>
      answered(
        'JSON with this `content-length`',
        { raw: [head('application/arc+json', `content-length: ${HUNDRED}\r\n`)], finish: 'stall' },
        'error −45004',
        1,
        1,
      ),
    middle: (kind) =>
      kind === 'JSON'
        ? answered(
            'JSON without `content-length`',
            { raw: after100MB(head('application/arc+json'), '{') },
            'error −45004',
            1,
            1,
          )
        : answered(
            '1,600 events of 64 KiB, each within the limit',
            { events: Array.from({ length: 1600 }, () => ({ data: 'x'.repeat(65_534) })) },
            'content ×1600, done',
          ),
    after: (kind) =>
      kind === 'JSON'
        ? answered(
            'spaces after the envelope',
            { raw: after100MB(head('application/arc+json'), ENVELOPE) },
            'error −45004',
            1,
            1,
          )
        : answered(
            'spaces after `done`, and the body does not end',
            { raw: after100MB(head('text/event-stream'), EVENT, DONE), finish: 'stall' },
            'content, done',
            1,
            1,
          ),
  },
  {
    name: 'endless event',
    about: 'The JSON send is answered with a stream that it did not request.',
    before: () => answered('the first event', { events: { [Symbol.iterator]: () => endless() } }, 'error −45004', 1, 1),
    middle: () =>
      answered(
        'the second event',
        { events: { [Symbol.iterator]: () => endless(EVENT) } },
        'content, error −45004',
        1,
        1,
      ),
    after: () =>
      answered(
        'an event after `done`',
        { events: { [Symbol.iterator]: () => endless(EVENT, DONE) } },
        'content, done',
        1,
        1,
      ),
  },
  {
    name: 'no `done`',
    about:
      'The stream ends correctly, between two events. The JSON send is answered with a stream that it did not request.',
    before: () => answered('no event at all', { events: [], done: false }, 'error −41003'),
    middle: () => answered('one event', { events: [EVENT], done: false }, 'content, done'),
    after: () => 'nothing is missing after `done`',
  },
  {
    name: 'redirect loop',
    before: () => answered('307 to itself, repeatedly', { ...faults.redirect('/arc/'), times: 4 }, 'error −41003', 4),
    middle: () => noStatus,
    after: (kind) =>
      later(kind, 'the next request is redirected in a loop', { ...faults.redirect('/arc/'), times: 4 }, 5),
  },
  {
    name: 'cross-origin redirect',
    before: () => ({
      how: '307 to another port, on which a server listens',
      arrange: redirectElsewhere,
      check: checkOtherOrigin,
      told: 'error −41003',
      requests: 1,
      aborted: 0,
    }),
    middle: () => noStatus,
    after: (kind) => ({
      how: 'the next request is redirected to another port',
      between: redirectElsewhere,
      check: checkOtherOrigin,
      told: `${WHOLE[kind]} · then error −41003`,
      requests: 2,
      aborted: 0,
    }),
  },
];

function redirectElsewhere({ agent, otherOrigin }: World): void {
  agent.script({ agentId: 'faulty' }, faults.redirect(otherOrigin.endpoint));
}

function checkOtherOrigin({ otherOrigin }: World): string | undefined {
  return otherOrigin.counters.accepted > 0 ? 'the request went to the other origin' : undefined;
}
