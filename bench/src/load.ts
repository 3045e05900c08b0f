import { churn } from './load/churn.js';
import { closeSockets, openSockets } from './load/connections.js';
import { runSends } from './load/sends.js';
import { serve } from './process/serve.js';

/** A process of clients: it opens WebSockets to the hosts and sends over them. */
const api = { open: openSockets, close: closeSockets, send: runSends, churn };

export type LoadApi = typeof api;

serve(api);
