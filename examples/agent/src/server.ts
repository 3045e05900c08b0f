import { createExampleAgent } from './index.js';

const { PORT = '8000', HOST = '127.0.0.1', ARC_TOKEN = '' } = process.env;

const agent = createExampleAgent(ARC_TOKEN === '' ? {} : { token: ARC_TOKEN });

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => agent.close());

const endpoint = await agent.listen(Number(PORT), HOST);
console.log(`The agents support, finance and hr listen at ${endpoint}`);
