import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import t from 'tap';
import { plainNode } from './child-process.js';

const { execPath, execArgv } = plainNode();

type Json = Record<string, unknown>;
interface AsyncApi extends Json {
  operations: Record<string, { action: string; messages: { $ref: string }[] }>;
  components: { messages: Record<string, { name: string; payload: object }> };
}

const root = new URL('../', import.meta.url);
const readJson = (path: string): unknown => JSON.parse(readFileSync(new URL(path, root), 'utf8'));
const asyncApi = readJson('packages/thread-core/asyncapi.json') as AsyncApi;
const { messages } = asyncApi.components;
const frames = readJson('packages/thread-core/frames.schema.json') as {
  $defs: Record<'ClientFrame' | 'RelayFrame', { anyOf: object[] }>;
};

t.test('asyncapi.json and frames.schema.json are made of what the relay checks frames with', async (t) => {
  const script = fileURLToPath(new URL('packages/thread-core/scripts/write-schema.mjs', root));
  const { status, stderr } = spawnSync(execPath, [...execArgv, script, '--check'], { encoding: 'utf8' });
  t.equal(stderr, '');
  t.equal(status, 0);
});

t.test("asyncapi.json is valid by AsyncAPI's published schema of version 3.0.0", async (t) => {
  const schema = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object;
  const ajv = new Ajv({ strict: false, validateFormats: false });
  const validate = ajv.compile(schema);
  t.ok(validate(asyncApi), ajv.errorsText(validate.errors));
  t.notOk(validate({ ...asyncApi, operations: { x: { action: 'shout' } } }), 'the schema does find an error');
});

t.test('every frame of both sides is in exactly one message, and every reference leads to a message', async (t) => {
  for (const [side, definition] of [
    ['client', frames.$defs.ClientFrame],
    ['relay', frames.$defs.RelayFrame],
  ] as const) {
    const payloads = Object.entries(messages)
      .filter(([name]) => name.startsWith(`${side}.`))
      .flatMap(([, { payload }]) => ('anyOf' in payload ? (payload.anyOf as object[]) : [payload]));
    t.strictSame(
      new Set(payloads.map((one) => JSON.stringify(one))),
      new Set(definition.anyOf.map((one) => JSON.stringify(one))),
    );
    t.equal(payloads.length, definition.anyOf.length);
    const { messages: references = [] } =
      Object.values(asyncApi.operations).find(({ action }) => action === (side === 'client' ? 'receive' : 'send')) ??
      {};
    const names = references.map(({ $ref }) => $ref.replace('#/channels/frames/messages/', ''));
    t.strictSame(
      names.sort(),
      Object.keys(messages)
        .filter((name) => name.startsWith(`${side}.`))
        .sort(),
    );
  }
});

t.test('every example of PROTOCOL.md is a valid payload of a message of its type', async (t) => {
  const protocol = readFileSync(new URL('PROTOCOL.md', root), 'utf8');
  const blocks = Array.from(protocol.matchAll(/^```json\n(.*?)^```$/gms), ([, text = '']) => text);
  const examples = blocks.flatMap((text) => (/^\{$/m.test(text) ? [text] : text.trim().split('\n')));
  const ajv = new Ajv({ strict: false });
  t.ok(examples.length > 8);
  for (const text of examples) {
    const frame = JSON.parse(text) as { type?: string };
    const fitting = Object.values(messages).filter(({ name }) => name === (frame.type ?? 'message'));
    t.ok(
      fitting.some(({ payload }) => ajv.validate(payload, frame)),
      text,
    );
  }
});
