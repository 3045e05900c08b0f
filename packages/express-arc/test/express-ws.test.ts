import t from 'tap';
import { runAdapterContract } from '../../../test/contract/contract.js';
import { onExpressWs } from '../../../test/contract/hosts/express.js';
import arc from '../src/index.js';

runAdapterContract(t, onExpressWs(arc, { verifies: false }));
runAdapterContract(t, onExpressWs(arc, { verifies: true }));
