import { churn } from './load/churn.js';
import { closeSockets, dropSockets, openSockets } from './load/connections.js';
import { runSends } from './load/sends.js';
import { serve } from './process/serve.js';

/** The process of the clients, which open WebSockets to the hosts and send messages. */
const api = { open: openSockets, close: closeSockets, drop: dropSockets, send: runSends, churn };

export type LoadApi = typeof api;

serve(api);
