import { runHostContract } from '@arc/host-contract';
import { onFastify } from '@arc/host-contract/hosts/fastify';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, onFastify(arc));
