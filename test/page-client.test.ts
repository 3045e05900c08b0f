// What PROTOCOL.md asks of clients, of the one that is here: the chat page of the examples.
import { startTestAgent } from '@arc/thread-core/testing';
import type { Browser } from 'playwright-core';
import t from 'tap';
import { ChatPage, launchChromium } from './browser/chat-page.js';
import { Example } from './browser/example.js';

t.setTimeout(180_000);

let browser: Browser;
let example: Example;

t.before(async () => {
  browser = await launchChromium();
  example = new Example('fastify');
  await example.url;
});

t.teardown(async () => {
  await browser?.close();
  await example?.stop('SIGKILL');
});

t.test('the page gives each send an id of its own [F-67]', async (t) => {
  const chat = await ChatPage.open(browser, await example.url);
  t.teardown(() => chat.close());
  for (const agent of ['Support', 'HR']) {
    await chat.choose(agent);
    for (const text of ['one', 'two']) {
      await chat.field(agent).fill(text);
      await chat.field(agent).press('Enter');
    }
  }
  await chat.settled('HR');
  await chat.choose('Support');
  await chat.settled('Support');
  const ids = chat.frames.filter(({ type }) => ['done', 'response'].includes(type)).map(({ id }) => id);
  t.ok(ids.every((id) => typeof id === 'string'));
  t.equal(new Set(ids).size, 4);
});

t.test('the client works where a strict Content-Security-Policy forbids code from strings', async (t) => {
  const chat = await ChatPage.open(browser, await example.url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'My printer is broken');
  await chat.log('Support').getByText('My printer is broken').first().waitFor();
  t.equal(chat.framesOf('support', 'done').length, 1);
  t.strictSame(chat.problems, [], 'nothing was refused');
  // In a task of the page's own: the policy does not bind the browser's tools.
  const attempt = `new Promise((resolve) => setTimeout(() => {
    try { resolve(new Function('return "allowed"')()); } catch (error) { resolve(error.name); }
  }))`;
  t.equal(await chat.page.evaluate(attempt), 'EvalError', 'the policy is in force');
});

t.test('the page takes an answer as a whole, and one in pieces, whatever it asked for [F-97]', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const server = new Example('fastify', { ARC_ENDPOINT: agent.endpoint });
  t.teardown(() => server.stop('SIGKILL'));
  const chat = await ChatPage.open(browser, await server.url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'hello');
  const message = { role: 'agent', parts: [{ type: 'TextPart', content: 'all at once' }] };
  const result = { type: 'chat', chat: { chatId: agent.requests[0]?.chatId, status: 'ACTIVE', message } };
  const body = JSON.stringify({ arc: '1.0', id: '1', responseAgent: 'support', targetAgent: 'me', result });
  agent.script('chat.message', { status: 200, body, headers: { 'content-type': 'application/json' } });
  await chat.say('Support', 'piece by piece, please');
  t.equal(agent.requests[1]?.params.stream, true, 'it asked for a stream');
  await chat.log('Support').getByText('all at once').waitFor();
  t.equal(chat.framesOf('support', 'response').length, 1);

  await chat.page.getByRole('switch', { name: 'Stream answers' }).press('Space');
  const piece = (content: string) => ({ data: { message: { role: 'agent', parts: [{ type: 'TextPart', content }] } } });
  agent.script('chat.message', { events: [piece('bit by '), piece('bit')], done: true });
  await chat.say('Support', 'in one, please');
  t.notOk(agent.requests[2]?.params.stream, 'it asked for no stream');
  await chat.log('Support').getByText('bit by bit').waitFor();
  t.equal(chat.framesOf('support', 'done').length, 2);
  t.strictSame(chat.problems, []);
});
