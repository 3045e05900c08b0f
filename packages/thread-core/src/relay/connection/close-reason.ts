/** @throws TypeError if a server may not send this code */
export function checkCloseCode(code: number): void {
  const isReserved = code >= 1004 && code <= 1006;
  const isOfProtocol = code >= 1000 && code <= 1014 && !isReserved;
  if (!isOfProtocol && !(code >= 3000 && code <= 4999)) throw new TypeError(`close: ${code} is not a code to send`);
}

/** A close reason has at most 123 bytes (RFC 6455, 5.5). It is cut between two characters. */
export function cutReason(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.length <= 123) return reason;
  let end = 123;
  while (((bytes[end] as number) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
