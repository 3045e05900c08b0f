import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createExampleAgent } from '../src/index.js';

async function post(endpoint: string, method: string, targetAgent: string, params: object, headers = {}) {
  const body = JSON.stringify({ arc: '1.0', id: 'r1', method, requestAgent: 'test', targetAgent, params });
  return fetch(endpoint, { method: 'POST', body, headers });
}

/** A chat with one of the agents: each call says something and gives the answer. */
function chat(endpoint: string, agent: string, chatId = agent) {
  let method = 'chat.start';
  return async (text: string): Promise<string> => {
    const message = { role: 'user', parts: [{ type: 'text', content: text }] };
    const params = method === 'chat.start' ? { initialMessage: message, chatId } : { message, chatId };
    const response = await post(endpoint, method, agent, params);
    method = 'chat.message';
    const { result } = (await response.json()) as { result: { chat: { message: { parts: [{ content: string }] } } } };
    return result.chat.message.parts[0].content;
  };
}

t.test('the agents', async (t) => {
  const server = createExampleAgent({ wordDelay: 0 });
  t.teardown(() => server.close());
  const endpoint = await server.listen();

  t.test('support opens a ticket and knows it later', async (t) => {
    const say = chat(endpoint, 'support');
    t.match(await say('Hi'), 'What is your name');
    t.equal(await say('What is my name?'), 'You have not told me your name yet. What is it?');
    t.equal(await say('I am Ada'), 'Hello, Ada. What is the problem?');
    t.equal(await say('Where is my ticket?'), 'There is no ticket yet. What is the problem?');
    const opened = await say('My laptop is broken');
    t.match(opened, /^I am sorry to hear that, Ada\. I have opened ticket T-\d{4} for "My laptop is broken"/);
    const ticket = /T-\d{4}/.exec(opened)?.[0] ?? '';
    t.match(await say('Since Monday'), `noted "Since Monday" on ticket ${ticket}`);
    t.match(await say('The printer is slow too'), `ticket ${ticket}, which now has 2 entries`);
    t.match(
      await say('Which ticket was it?'),
      `Your ticket is ${ticket}, about "My laptop is broken" and "The printer is slow too"`,
    );
    t.equal(await say('Who am I?'), 'You are Ada.');
    t.match(
      await say('What did I ask you?'),
      /^You asked about "My laptop is broken", then .* "Who am I\?" earlier\.$/,
    );
    t.equal(await say('Thank you'), 'You are welcome, Ada. Have a good day!');
  });

  t.test('an agent counts, and fails when it is asked to', async (t) => {
    const say = chat(endpoint, 'support', 'demands');
    t.equal(await say('Count slowly to 5'), '1 2 3 4 5');
    const message = { role: 'user', parts: [{ type: 'text', content: 'Please fail' }] };
    const response = await post(endpoint, 'chat.message', 'support', { chatId: 'demands', message });
    t.match(await response.json(), { error: { code: -42_004, message: 'This failure was asked for' } });
  });

  t.test('finance adds invoices up', async (t) => {
    const say = chat(endpoint, 'finance');
    t.equal(await say('Do you remember me?'), 'This is the first thing that you tell me.');
    t.match(await say('Hello'), 'Give me an invoice');
    t.equal(await say('What is the total?'), 'You have not given me any invoice yet.');
    t.equal(
      await say('Invoice 17 over 120.50'),
      'Noted: invoice 17 over €120.50. That makes 1 invoice, €120.50 in all.',
    );
    t.match(await say('Please add invoice #A18 for EUR 80'), 'That makes 2 invoices, €200.50 in all.');
    t.match(await say('What about invoice 17?'), 'Invoice 17 is over €120.50.');
    t.match(await say('And invoice 99?'), 'I do not know invoice 99');
    t.equal(await say('How much is it?'), 'You have 2 invoices, €200.50 in all.');
  });

  t.test('hr keeps the balance of leave', async (t) => {
    const say = chat(endpoint, 'hr');
    t.match(await say('Hello, my name is Bo'), 'Hello, Bo, this is HR.');
    t.match(await say('How many days do I have?'), 'You have 25 days of leave left out of 25.');
    t.match(await say('I want to take 24 days off'), 'I have booked 24 days of leave, Bo, which leaves 1 day.');
    t.match(await say('From Monday on'), 'Good, "From Monday on" is noted');
    t.match(await say('I need 2 days'), 'That is more than you have, Bo: your balance is 1 day.');
    t.match(await say('What is my balance?'), 'You have 1 day of leave left');
  });

  t.test('chats know nothing of one another', async (t) => {
    await chat(endpoint, 'support', 'a')('My name is Ada');
    t.match(await chat(endpoint, 'support', 'b')('Who am I?'), 'You have not told me');
  });

  t.test('a stream comes word by word', async (t) => {
    const slow = createExampleAgent({ wordDelay: 1 });
    t.teardown(() => slow.close());
    const initialMessage = { role: 'user', parts: [{ type: 'text', content: 'Who am I?' }] };
    const response = await post(await slow.listen(), 'chat.start', 'hr', { initialMessage, stream: true });
    t.strictSame([...(await response.text()).matchAll(/"content":"(.*?)"/g)].map(([, word]) => word).slice(0, 3), [
      'You ',
      'have ',
      'not ',
    ]);
  });
});

t.test('the server asks for the token, and ends in order on a signal', async (t) => {
  const path = fileURLToPath(new URL('../dist/server.js', import.meta.url));
  const env = { ...process.env, PORT: '0', HOST: '127.0.0.1', ARC_TOKEN: 'secret' };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const child: ChildProcess = spawn(process.execPath, [path], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    if (child.stdout === null) throw new Error('no stdout');
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    const endpoint = /http:\S+/.exec(line)?.[0] ?? '';
    const initialMessage = { role: 'user', parts: [{ type: 'text', content: 'Hi' }] };
    t.equal((await post(endpoint, 'chat.start', 'hr', { initialMessage })).status, 401);
    const exited = once(child, 'exit');
    child.kill(signal);
    t.strictSame(await exited, [0, null]);
  }
});
