import t from 'tap';
import { type Bytes, decode, encode, readBytes, utf8Boundary } from '../src/bytes.js';

const TEXTS = ['', 'plain', '\u0000\u007f', 'é', 'Größe', '漢字', '😀', 'a😀é漢b', '\ufeffx', '\uffff'];

t.test('what is encoded is one character for each byte of UTF-8, and can be decoded', async (t) => {
  for (const text of TEXTS) {
    const bytes = encode(text);
    t.equal(Buffer.compare(Buffer.from(bytes, 'latin1'), Buffer.from(text)), 0, encodeURI(text));
    t.equal(decode(bytes), text);
    t.equal(readBytes(Buffer.from(text)), bytes);
  }
  t.equal(decode(encode('\ud800')), '\ufffd', 'half a character has no UTF-8');
});

t.test('what is no UTF-8 is read as the standard decoder reads it', async (t) => {
  const broken = [
    [0xff],
    [0x61, 0xc3],
    [0xc3, 0x28],
    [0xe2, 0x82],
    [0xf0, 0x9f, 0x98],
    [0xed, 0xa0, 0x80],
    [0xc0, 0xaf],
  ];
  for (const bytes of broken) {
    const buffer = Buffer.from(bytes);
    t.equal(decode(readBytes(buffer)), new TextDecoder('utf-8', { ignoreBOM: true }).decode(buffer));
  }
});

t.test('bytes that are cut anywhere are whole up to the last character that is not', async (t) => {
  for (const text of TEXTS) {
    const all = Buffer.from(text);
    for (let end = 0; end <= all.length; end += 1) {
      const head = all.subarray(0, end);
      const at = utf8Boundary(head);
      t.equal(text.startsWith(decode(readBytes(head.subarray(0, at)))), true, `${encodeURI(text)} cut at ${end}`);
      t.ok(end - at < 4);
    }
    t.equal(utf8Boundary(all), all.length);
  }
  t.equal(utf8Boundary(Buffer.from([0x80, 0x80, 0x80, 0x80])), 4, 'nothing is waited for that began nowhere');
  t.equal(encode('x') satisfies Bytes, 'x');
});
