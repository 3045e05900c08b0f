import { isIPv6 } from 'node:net';

/**
 * The network of one client: an IPv4 address, or the first 64 bits of an IPv6 address, because providers give each customer
 * all addresses with the same first 64 bits.
 */
export function networkOf(address: string): string {
  // IPv4 addresses within IPv6 have dots: `::ffff:192.0.2.1`.
  if (!isIPv6(address) || address.includes('.')) return address;
  const [head = '', tail = ''] = address.replace(/%.*/, '').split('::');
  const [left, right] = [head, tail].map((part) => part.split(':').filter((group) => group !== '')) as [
    string[],
    string[],
  ];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const groups = [...left, ...zeros, ...right].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}
