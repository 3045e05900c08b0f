import { runHostContract } from '@arc/host-contract';
import { expressWsHost } from '@arc/host-contract/hosts/express';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, expressWsHost(arc, { verifies: false }));
runHostContract(t, expressWsHost(arc, { verifies: true }));
