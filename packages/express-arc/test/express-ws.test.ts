import { runHostContract } from '@arc/host-contract';
import { onExpressWs } from '@arc/host-contract/hosts/express';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, onExpressWs(arc, { verifies: false }));
runHostContract(t, onExpressWs(arc, { verifies: true }));
