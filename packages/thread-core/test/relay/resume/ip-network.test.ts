// Anonymous clients are distinguished by their networks.
import t from 'tap';
import { ANONYMOUS } from '../../../src/relay/admission/identity.js';
import { networkOf } from '../../../src/relay/resume/ip-network.js';
import { type ResumableSession, ResumableSessions } from '../../../src/relay/resume/resumable-sessions.js';

t.test('an IPv4 address is a network of its own, an IPv6 address is one of its first 64 bits', (t) => {
  const networks: Record<string, string> = {
    '192.0.2.1': '192.0.2.1',
    '::ffff:192.0.2.1': '::ffff:192.0.2.1',
    '::1': '0:0:0:0::/64',
    '2001:db8::1': '2001:db8:0:0::/64',
    '2001:db8:0:0:1:2:3:4': '2001:db8:0:0::/64',
    '2001:0db8:0000:0001::': '2001:db8:0:1::/64',
    '2001:db8:1:2:3:4:5:6': '2001:db8:1:2::/64',
    'fe80::1%eth0': 'fe80:0:0:0::/64',
    '': '',
  };
  for (const [address, network] of Object.entries(networks)) t.equal(networkOf(address), network, address);
  t.end();
});

t.test('[F-513] a client with many IPv6 addresses evicts its own waiting sessions, and not those of others', (t) => {
  const evicted: string[] = [];
  const sessions = new ResumableSessions<ResumableSession>({
    grace: 1000,
    maxBufferedBytes: 1000,
    maxDetached: 10,
    maxDetachedBytes: 1000,
  });
  const detach = (id: string, address: string): void => {
    const resumption = { identityKey: ANONYMOUS, secretHash: '', got: 0, address };
    const session = { id, resumption, keptBytes: 1, evict: () => evicted.push(id) };
    sessions.add(session);
    sessions.countDetached(session);
  };
  for (let other = 0; other < 3; other++) detach(`other ${other}`, '192.0.2.1');
  for (let many = 0; many < 100; many++) detach(`many ${many}`, `2001:db8::${many.toString(16)}`);
  t.equal(evicted.length, 93);
  t.ok(
    evicted.every((id) => id.startsWith('many')),
    'only its own',
  );
  t.end();
});
