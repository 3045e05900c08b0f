// Writes the published descriptions of the frames from the tables that the relay checks frames with: frames.schema.json
// (JSON Schema) and asyncapi.json (AsyncAPI 3). Run it after a build: `node scripts/write-schema.mjs`. With --check it
// writes nothing, and exits with 1 if a file is not as it would be written.
import { readFileSync, writeFileSync } from 'node:fs';
import { framesSchema } from '../dist/index.js';

const SUMMARIES = {
  'relay.response': 'The complete answer of a send: the envelope of the agent, unchanged.',
  'relay.content': 'One part of a streamed answer.',
  'relay.metadata': "The agent's metadata about its answer.",
  'relay.event': 'A streamed event with any other name.',
  'relay.done': 'The streamed answer is complete.',
  'relay.error': 'The send failed, or the frame was refused.',
  'relay.cancelled': 'The send was cancelled.',
  'relay.ended': 'Answers end: the thread is ended.',
  'relay.pong': 'Answers ping.',
  'relay.ready': 'Answers resume: the secret of the session, and what it has missed.',
  'relay.ack': 'How many frames of the client have arrived.',
};

/** The frames of one side as messages, by their type. */
function messagesOf(side, { anyOf: frames }) {
  const typeOf = (frame) => frame.properties.type.const;
  return [...new Set(frames.map(typeOf))].map((type) => {
    const schemas = frames.filter((frame) => typeOf(frame) === type);
    const name = `${side}.${type}`;
    const summary = SUMMARIES[name] ?? schemas[0].description;
    if (summary === undefined) throw new Error(`${name} has no summary`);
    const payload = schemas.length === 1 ? schemas[0] : { anyOf: schemas };
    return [name, { name: type, title: type, summary, contentType: 'application/json', payload }];
  });
}

function asyncApi() {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const { ClientFrame, RelayFrame } = framesSchema.$defs;
  const client = messagesOf('client', ClientFrame);
  const relay = messagesOf('relay', RelayFrame);
  const inChannel = ([name]) => [name, { $ref: `#/components/messages/${name}` }];
  const references = (messages) => messages.map(([name]) => ({ $ref: `#/channels/frames/messages/${name}` }));
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'ARC thread frames',
      version,
      description:
        'The frames between a WebSocket client and the relay, each of them one text message. PROTOCOL.md specifies them; this document is generated from the tables that the relay checks frames with. Receivers ignore unknown fields.',
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    servers: {
      relay: {
        host: 'localhost:3000',
        protocol: 'ws',
        description: 'The application chooses host and port. Use wss outside of the own machine.',
      },
    },
    channels: {
      frames: {
        address: '/ws',
        description: 'One connection. The application chooses the path.',
        servers: [{ $ref: '#/servers/relay' }],
        messages: Object.fromEntries([...client, ...relay].map(inChannel)),
        bindings: { ws: { method: 'GET' } },
      },
    },
    operations: {
      receiveFrame: {
        action: 'receive',
        channel: { $ref: '#/channels/frames' },
        summary: 'The relay receives a frame of the client.',
        messages: references(client),
      },
      sendFrame: {
        action: 'send',
        channel: { $ref: '#/channels/frames' },
        summary: 'The relay sends a frame to the client.',
        messages: references(relay),
      },
    },
    components: { messages: Object.fromEntries([...client, ...relay]) },
  };
}

/** As Biome formats it: an array of words is one line. */
function format(value) {
  return `${JSON.stringify(value, undefined, 2).replace(/\[[^[\]{}]+\]/g, (array) =>
    array.replace(/\s+/g, ' ').replace('[ ', '[').replace(' ]', ']'),
  )}\n`;
}

for (const [name, value] of [
  ['frames.schema.json', framesSchema],
  ['asyncapi.json', asyncApi()],
]) {
  const url = new URL(`../${name}`, import.meta.url);
  if (!process.argv.includes('--check')) {
    writeFileSync(url, format(value));
  } else if (readFileSync(url, 'utf8') !== format(value)) {
    process.stderr.write(`${name} is not what scripts/write-schema.mjs writes\n`);
    process.exitCode = 1;
  }
}
