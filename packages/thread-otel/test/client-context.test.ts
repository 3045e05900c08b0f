import { propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import t from 'tap';
import { readClientContext } from '../src/client-context.js';
import { boundedErrorTypeOf, errorTypeOf, messageOf } from '../src/errors.js';
import { serverOf } from '../src/spans.js';

t.test('baggage is read as W3C Baggage writes it, and what is not a member is left out', async (t) => {
  const read = (baggage: string) =>
    propagation
      .getBaggage(readClientContext({ baggage }))
      ?.getAllEntries()
      .map(([key, { value, metadata }]) => [key, value, metadata?.toString()]);
  t.strictSame(read('a=1, b = two%20words ;p=1;q,=x,c,%zz=1,d=%zz,e='), [
    ['a', '1', undefined],
    ['b', 'two words', 'p=1;q'],
    ['e', '', undefined],
  ]);
  const many = Array.from({ length: 100 }, (_, index) => `k${index}=v`).join();
  t.equal(read(many)?.length, 64, 'no more members than the specification demands');
});

t.test('a trace is read as W3C Trace Context writes it: of the flags only `sampled`', async (t) => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff';
  const span = trace.getSpanContext(readClientContext({ traceparent, tracestate: 'a=1,b=2' }));
  t.match(span, {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    traceFlags: 1,
    isRemote: true,
  });
  t.equal(span?.traceState?.serialize(), 'a=1,b=2');
  t.equal(trace.getSpanContext(readClientContext({ traceparent }))?.traceState, undefined);
  t.equal(readClientContext({}), ROOT_CONTEXT);
});

t.test('errors that are not of ARC have the name of their class, and no text', async (t) => {
  const errors = [new TypeError('secret'), 'secret', undefined];
  t.strictSame(errors.map(errorTypeOf), ['TypeError', '_OTHER', '_OTHER']);
  t.strictSame(errors.map(boundedErrorTypeOf), ['_OTHER', '_OTHER', '_OTHER']);
  t.strictSame(errors.map(messageOf), [undefined, undefined, undefined]);
});

t.test('server.port is set, also if the URL of the endpoint has no port', async (t) => {
  t.strictSame(serverOf('https://agents.example/arc'), { 'server.address': 'agents.example', 'server.port': 443 });
  t.strictSame(serverOf('http://agents.example/arc'), { 'server.address': 'agents.example', 'server.port': 80 });
  t.strictSame(serverOf(undefined), {});
});
