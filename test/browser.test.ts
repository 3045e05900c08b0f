import { once } from 'node:events';
import { connect } from 'node:net';
import { startTestAgent } from '@arc/thread-core/testing';
import { createExampleAgent } from '@arc-examples/agent';
import type { Browser, BrowserContextOptions } from 'playwright-core';
import t, { type Test } from 'tap';
import { ChatPage, launchChromium } from './browser/chat-page.js';
import { Example } from './browser/example.js';

const AGENTS = [
  { id: 'support', name: 'Support', question: 'My printer is broken', answer: /opened ticket T-\d{4}/ },
  { id: 'finance', name: 'Finance', question: 'Invoice 17 over 120.50', answer: /Noted: invoice 17 over €120\.50/ },
  { id: 'hr', name: 'HR', question: 'Book 3 days off', answer: /booked 3 days of leave/ },
] as const;

// A dozen servers are started, and as many pages opened.
t.setTimeout(600_000);

let browser: Browser;
let example: Example;

t.before(async () => {
  browser = await launchChromium();
  // An agent that the agent server does not have, for an error that is real.
  example = new Example('fastify', { ARC_AGENTS: 'support,finance,hr,nobody' });
  await example.url;
});

t.teardown(async () => {
  await browser?.close();
  await example?.stop('SIGKILL');
});

async function open(t: Test, options: BrowserContextOptions = {}): Promise<ChatPage> {
  const chat = await ChatPage.open(browser, await example.url, options);
  t.teardown(() => chat.close());
  return chat;
}

t.test('each of three agents answers piece by piece, in a chat of its own', async (t) => {
  const chat = await open(t);
  const chatIds = new Set<string>();
  for (const { id, name, question, answer } of AGENTS) {
    await chat.choose(name);
    await chat.say(name, question);
    await chat.log(name).getByText(answer).waitFor();

    const pieces = chat.framesOf(id, 'content');
    t.ok(pieces.length > 3, `${name} answered in ${pieces.length} pieces`);
    t.equal(chat.framesOf(id, 'done').length, 1, 'and was done once');
    const chatId = pieces[0]?.data?.chatId ?? 'none';
    t.equal(await chat.chatId.textContent(), chatId, 'the chat id is shown');
    t.equal(await chat.traceId.textContent(), pieces[0]?.trace_id, 'and the trace id');
    chatIds.add(chatId);
  }
  t.equal(chatIds.size, AGENTS.length, 'no two agents share a chat');

  await chat.choose('Finance');
  await chat.say('Finance', 'What is the total?');
  await chat.log('Finance').getByText('1 invoice, €120.50 in all').last().waitFor();
  t.strictSame(chat.problems, []);
});

t.test('without streaming the answer comes as a whole', async (t) => {
  const chat = await open(t);
  await chat.page.getByRole('switch', { name: 'Stream answers' }).press('Space');
  await chat.say('Support', 'My printer is broken');
  await chat
    .log('Support')
    .getByText(/opened ticket/)
    .waitFor();
  t.equal(chat.framesOf('support', 'response').length, 1);
  t.equal(chat.framesOf('support', 'content').length, 0);
  t.match(await chat.chatId.textContent(), /^[\w-]{8,}$/);
  t.strictSame(chat.problems, []);
});

t.test('agents answer side by side, and what was not looked at is marked as unread', async (t) => {
  const chat = await open(t);
  // Slowly, so that the answer is not complete before the other agent is chosen.
  await chat.field('Support').fill('My printer is broken, help me slowly');
  await chat.field('Support').press('Enter');
  await chat.choose('HR');
  await chat.say('HR', 'How many days are left?');
  await chat.tab('Support 1 unread').waitFor();
  t.equal(await chat.page.title(), '(1) ARC threads');
  await chat.tab('Support').click();
  await chat
    .log('Support')
    .getByText(/opened ticket/)
    .waitFor();
  t.equal(await chat.page.title(), 'ARC threads');
  t.strictSame(chat.problems, []);
});

t.test('a chat that is ended is gone, and the next message starts another', async (t) => {
  const chat = await open(t);
  await chat.say('Support', 'My printer is broken');
  const first = await chat.chatId.textContent();
  await chat.endButton.click();
  await chat.log('Support').getByText('Chat ended.').waitFor();
  t.equal(await chat.chatId.textContent(), 'none yet');
  t.ok(await chat.endButton.isHidden());

  await chat.say('Support', 'What is my ticket?');
  await chat.log('Support').getByText('There is no ticket yet.').waitFor();
  t.not(await chat.chatId.textContent(), first);
  t.strictSame(chat.problems, []);
});

t.test('an answer can be stopped', async (t) => {
  const chat = await open(t);
  await chat.field('Support').fill('My printer is broken, help me slowly');
  await chat.field('Support').press('Enter');
  await chat.page.getByRole('button', { name: 'Stop' }).click();
  await chat
    .log('Support')
    .getByText(/^Stopped/)
    .waitFor();
  t.equal(chat.framesOf('support', 'cancelled').length, 1);
  t.strictSame(chat.problems, []);
});

t.test('an error is shown as an error, with its code, and not as the words of an agent [F-123]', async (t) => {
  const chat = await open(t);
  await chat.choose('nobody');
  await chat.say('nobody', 'Is anybody there?');
  const error = chat.log('nobody').locator('.error');
  await error.waitFor();
  t.match(await error.textContent(), /^Error −41001.*nobody/);
  t.equal(await chat.log('nobody').locator('.text').count(), 0);
  t.ok(await error.getByRole('button', { name: 'Send again' }).isVisible());
  t.strictSame(chat.problems, []);
});

t.test('what an agent repeats of a message stays text', async (t) => {
  const chat = await open(t);
  const text = '<img src=x onerror=alert(1)> is broken';
  await chat.say('Support', text);
  await chat.log('Support').getByText(`for "${text}"`).waitFor();
  t.equal(await chat.log('Support').locator('img').count(), 0);
  t.strictSame(chat.problems, []);
});

t.test('everything can be done with the keyboard alone', async (t) => {
  const chat = await open(t);
  const { keyboard } = chat.page;
  const focused = chat.page.locator(':focus');

  t.equal(await focused.getAttribute('id'), 'message', 'one can write at once');
  await keyboard.type('My printer');
  await keyboard.press('Shift+Enter');
  await keyboard.type('is broken');
  t.equal(await chat.field('Support').inputValue(), 'My printer\nis broken');
  await keyboard.press('Enter');
  await chat.settled('Support');
  await chat
    .log('Support')
    .getByText(/opened ticket/)
    .waitFor();
  t.equal(await chat.field('Support').inputValue(), '');

  await keyboard.press('Shift+Tab');
  t.equal(await focused.getAttribute('aria-label'), 'Support, transcript');
  await keyboard.press('Shift+Tab');
  t.equal(await focused.textContent(), 'End chat');
  await keyboard.press('Enter');
  await chat.log('Support').getByText('Chat ended.').waitFor();

  for (const _ of ['transcript', 'nobody', 'hr']) await keyboard.press('Shift+Tab');
  await keyboard.press('Enter');
  t.equal(await focused.getAttribute('placeholder'), 'Message HR', 'choosing an agent leads to its field');
  await keyboard.type('How many days are left?');
  await keyboard.press('Enter');
  await chat.settled('HR');
  await chat.log('HR').getByText('25 days of leave left').waitFor();
  t.strictSame(chat.problems, []);
});

for (const width of [320, 375]) {
  t.test(`a phone ${width} pixels wide shows everything without scrolling sideways`, async (t) => {
    const chat = await open(t, { viewport: { width, height: 812 }, isMobile: true, hasTouch: true });
    t.equal(await chat.overflow(), 0);
    await chat.say('Support', `${'broken'.repeat(40)} broken`);
    await chat
      .log('Support')
      .getByText(/opened ticket/)
      .waitFor();
    t.equal(await chat.overflow(), 0);
    for (const button of [chat.endButton, chat.page.getByRole('button', { name: 'Send' })]) {
      const box = await button.boundingBox();
      t.ok(
        box !== null && box.x >= 0 && box.x + box.width <= width && box.height >= 44,
        'is in sight and large enough',
      );
    }
    t.strictSame(chat.problems, []);
  });
}

t.test('the page follows the colour scheme', async (t) => {
  const lightness = async (colorScheme: 'dark' | 'light') => {
    const chat = await open(t, { colorScheme });
    const colour = await chat.page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
    t.strictSame(chat.problems, []);
    return Number(/\d+/.exec(colour)?.[0]);
  };
  t.ok((await lightness('light')) > 200);
  t.ok((await lightness('dark')) < 50);
});

t.test('a restarted server is found again, and the page says that the chats are new [F-47] [F-151]', async (t) => {
  const first = new Example('fastify');
  const url = await first.url;
  const chat = await ChatPage.open(browser, url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'My printer is broken');

  t.match(await first.stop('SIGTERM'), { code: 0, signal: null }, 'SIGTERM ends the server with 0');
  const reconnect = chat.page.getByRole('button', { name: 'Reconnect now' });
  await reconnect.waitFor();

  const second = new Example('fastify', { PORT: new URL(url).port });
  t.teardown(() => second.stop('SIGKILL'));
  await second.url;
  // It may have come back by itself already.
  await Promise.race([chat.connected(), reconnect.click().then(() => chat.connected())]);
  // Only the new server can say that it does not know the session.
  await chat.log('Support').getByText('The connection was lost and the chat has ended with it.').waitFor();
  t.equal(await chat.chatId.textContent(), 'none yet');
  await chat.say('Support', 'What is my ticket?');
  await chat.log('Support').getByText('There is no ticket yet.').waitFor();
  // It is closed, refused, or answered with 503 by the one that shuts down.
  const others = chat.problems.filter((problem) => !/^WebSocket connection to \S+ failed: /.test(problem));
  t.strictSame(others, [], 'the browser complains about the server that was away, and of nothing else');
});

t.test('an agent that lost the chat is not passed over in silence [F-31]', async (t) => {
  const before = createExampleAgent({ wordDelay: 0, token: 'secret' });
  const endpoint = await before.listen(0, '127.0.0.1');
  const server = new Example('fastify', { ARC_ENDPOINT: endpoint, ARC_TOKEN: 'secret' });
  t.teardown(() => server.stop('SIGKILL'));
  const chat = await ChatPage.open(browser, await server.url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'My printer is broken');
  const first = await chat.chatId.textContent();

  await before.close();
  const after = createExampleAgent({ wordDelay: 0, token: 'secret' });
  await after.listen(Number(new URL(endpoint).port), '127.0.0.1');
  t.teardown(() => after.close());
  await chat.say('Support', 'What is my ticket?');
  await chat.log('Support').getByText('There is no ticket yet.').waitFor();
  await chat.log('Support').getByText('Support had lost this chat and a new one was started').waitFor();
  t.not(await chat.chatId.textContent(), first);
  t.strictSame(chat.problems, []);
});

t.test(
  'an answer that went with its server is marked, and what is written meanwhile waits for the next one',
  async (t) => {
    const agent = createExampleAgent({ wordDelay: 60_000 });
    t.teardown(() => agent.close());
    const server = new Example('fastify', { ARC_ENDPOINT: await agent.listen(0, '127.0.0.1') });
    const url = await server.url;
    const chat = await ChatPage.open(browser, url);
    t.teardown(() => chat.close());
    await chat.field('Support').fill('My printer is broken');
    await chat.field('Support').press('Enter');
    await chat.page.getByRole('button', { name: 'Stop' }).waitFor();
    await server.stop('SIGKILL');
    await chat.page.getByRole('status').getByText('No connection to the server').waitFor();

    await chat.field('Support').fill('Hello?');
    await chat.field('Support').press('Enter');
    await chat.log('Support').getByText('Hello?').waitFor();
    const again = new Example('fastify', { PORT: new URL(url).port });
    t.teardown(() => again.stop('SIGKILL'));
    await again.url;
    const error = chat.log('Support').locator('.error');
    await error.getByText('The connection was lost before the answer was complete.').waitFor();
    t.match(await error.textContent(), /^Not answered/);
    await chat.settled('Support');
    await chat.log('Support').getByText('Hello, this is support.').waitFor();
  },
);

t.test('the transcript is kept over a reload', async (t) => {
  const chat = await open(t);
  await chat.say('Support', 'My printer is broken');
  await chat
    .log('Support')
    .getByText(/opened ticket/)
    .waitFor();
  await chat.page.reload();
  await chat.connected();
  await chat.log('Support').getByText('My printer is broken', { exact: true }).waitFor();
  await chat
    .log('Support')
    .getByText(/opened ticket/)
    .waitFor();
  t.strictSame(chat.problems, []);
});

t.test('Markdown of an agent is shown as it is meant, and none of its HTML or its scripts run', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const server = new Example('fastify', { ARC_ENDPOINT: agent.endpoint });
  t.teardown(() => server.stop('SIGKILL'));
  agent.script(
    'chat.start',
    [
      '# Result\n\nIt is **bo',
      'ld**, `code` and [a link](https://example.com/), not [this](javascript:alert(1)).\n\n',
      '- one\n- two\n\n1. first\n\n```js\nlet x = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\n---\n\n',
      '<img src=x onerror="document.title=1"><script>document.title=2</script>\n\n![picture](https://example.com/x.png) &amp; ~~gone~~',
    ].map((content) => ({ type: 'TextPart', content })),
  );
  const chat = await ChatPage.open(browser, await server.url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'Show me');
  const text = chat.log('Support').locator('.text');
  for (const [tag, count] of Object.entries({
    strong: 1,
    a: 1,
    ul: 1,
    ol: 1,
    pre: 1,
    table: 1,
    blockquote: 1,
    hr: 1,
    del: 1,
    img: 0,
    script: 0,
  })) {
    t.equal(await text.locator(tag).count(), count, tag);
  }
  t.equal(await text.locator('strong').textContent(), 'bold');
  t.equal(await text.locator('a').getAttribute('href'), 'https://example.com/');
  t.match(await text.textContent(), '<img src=x onerror="document.title=1"><script>document.title=2</script>');
  t.equal(await chat.page.title(), 'ARC threads');
  t.strictSame(chat.problems, []);
});

t.test('an answer that the Markdown parser cannot follow is shown as text, and after a reload too', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const server = new Example('fastify', { ARC_ENDPOINT: agent.endpoint });
  t.teardown(() => server.stop('SIGKILL'));
  agent.script('chat.start', `${'>'.repeat(20_000)} deep`);
  const chat = await ChatPage.open(browser, await server.url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'How deep is it?');
  for (const when of ['at first', 'after a reload']) {
    t.equal(await chat.log('Support').locator('.error').count(), 0, when);
    t.match(await chat.log('Support').locator('.text').textContent(), /> deep$/, when);
    await chat.page.reload();
    await chat.connected();
  }
  t.strictSame(chat.problems, []);
});

t.test('SIGINT ends the server with 0 too, and at once if a connection never had a request', async (t) => {
  const other = new Example('fastify');
  const { hostname, port } = new URL(await other.url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  t.match(await other.stop('SIGINT'), { code: 0, signal: null });
});

t.test('a port in use is said in one line', async (t) => {
  const { port } = new URL(await example.url);
  const { code, output } = await new Example('fastify', { PORT: port }).exited;
  t.equal(code, 1);
  t.match(output.trim(), new RegExp(`^Port ${port} on 127\\.0\\.0\\.1 is in use\\. .*PORT=`));
  t.equal(output.trim().split('\n').length, 1);
});

t.test('wrong settings are named, all of them', async (t) => {
  const { code, output } = await new Example('fastify', { PORT: '70000', ARC_STREAM: 'maybe' }).exited;
  t.equal(code, 1);
  t.match(output, /PORT must be .* not "70000"/);
  t.match(output, /ARC_STREAM must be .* not "maybe"/);
});
