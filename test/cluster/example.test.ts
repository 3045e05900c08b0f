import { until } from '@arc/test-client';
import { createThreadClient } from '@arc/thread-client';
import t from 'tap';
import { WebSocket } from 'ws';
import { ChatPage, launchChromium } from '../browser/chat-page.js';
import { Example } from '../browser/example.js';

interface ClusterNode {
  name: string;
  sessions?: number;
}

t.test('examples/cluster: a conversation lives on when its node is killed, which only the page may do', async (t) => {
  const example = new Example('cluster');
  t.teardown(() => example.stop('SIGKILL'));
  const url = await example.url;
  t.match(await (await fetch(url)).text(), /id="nodes"/);
  const nodes = async (): Promise<ClusterNode[]> => (await (await fetch(`${url}/nodes`)).json()) as ClusterNode[];
  const client = createThreadClient({ url: `${url}/ws`, WebSocket, backoff: { min: 50, max: 500 } });
  t.match(await client.send('support', 'My name is Ada').text(), /Ada/);
  await until(async () => (await nodes()).some(({ sessions }) => sessions === 1), 'a node to report the session');
  const owner = (await nodes()).find(({ sessions }) => sessions === 1)?.name;
  t.match(await fetch(`${url}/nodes/${owner}`, { method: 'POST' }), { status: 403 }, 'other sites cannot kill it');
  const lost = new Promise<void>((resolve) => {
    client.on('state', ({ status }) => status === 'waiting' && resolve());
  });
  const headers = { 'sec-fetch-site': 'same-origin' };
  t.match(await fetch(`${url}/nodes/${owner}`, { method: 'POST', headers }), { status: 204 });
  await lost;
  t.equal(await client.send('support', 'What is my name?').text(), 'You are Ada.');
  t.match(client.state, { status: 'open', resumed: true });
  await client.close();
  t.match(await example.stop(), { code: 0, signal: null });
});

t.test('examples/cluster: the page kills the node of its conversation, and the conversation goes on', async (t) => {
  const example = new Example('cluster');
  t.teardown(() => example.stop('SIGKILL'));
  const browser = await launchChromium();
  t.teardown(() => browser.close());
  const chat = await ChatPage.open(browser, await example.url);
  await chat.say('Support', 'My name is Ada');
  await chat.log('Support').getByText('Ada').last().waitFor();
  const owner = chat.page.getByRole('listitem').filter({ hasText: '1 session' });
  const name = ((await owner.textContent()) ?? '').split(':')[0];
  await owner.getByRole('button').click();
  await chat.page.getByText(`${name}: down`).waitFor();
  await chat.say('Support', 'What is my name?');
  await chat.log('Support').getByText('You are Ada.').waitFor();
  await chat.page.getByRole('button', { name: `Kill node ${name}` }).waitFor();
  t.match(await example.stop(), { code: 0, signal: null });
});
