import { frameBytes, RawClient, upgradeText } from './client.js';
import type { Declare, Host } from './host.js';
import { allGone, world } from './world.js';

/** What a client can do to a connection that is open. */
export function faults(declare: Declare, host: Host): void {
  const cases: [what: string, code: number | undefined, act: (client: RawClient) => void][] = [
    ['a frame that is too large', 1009, ({ socket }) => socket.write(frameBytes('x'.repeat(5000)))],
    ['a binary frame', 1003, ({ socket }) => socket.write(frameBytes('{}', 2))],
    ['a frame that is not UTF-8', 1007, ({ socket }) => socket.write(frameBytes(Buffer.from([0xc3, 0x28])))],
    ['a frame without a mask [F-166]', 1002, ({ socket }) => socket.write(Buffer.from([0x81, 1, 65]))],
    ['a dropped connection', undefined, ({ socket }) => socket.resetAndDestroy()],
  ];
  for (const [what, code, act] of cases) {
    declare(`${what}: the server keeps running, the chat is ended, and one line is logged`, [], async (t) => {
      const { port, agent, app, log, connect } = await world(t, host, { options: { maxFrameBytes: 4096 } });
      const other = await connect();
      const frame = '{"agent_id":"a","message":{"role":"user","parts":[]}}';
      const client = new RawClient(port, upgradeText('/ws'), frameBytes(frame));
      await client.receives('"response"');
      act(client);
      if (code !== undefined) {
        // The code of a close frame, in the two bytes behind its head.
        await client.receives(String.fromCharCode(code >> 8, code & 0xff));
        client.socket.end();
      }
      await client.closed;
      await agent.waitFor('idle');
      t.equal(await other.say('a'), 'a #1: hello');
      other.socket.close();
      await other.closed;
      await allGone(app);
      t.equal(log.lines.length, 1, log.lines.join());
    });
  }
}
