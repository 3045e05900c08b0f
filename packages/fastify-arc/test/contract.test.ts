import t from 'tap';
import { runAdapterContract } from '../../../test/contract/contract.js';
import { onFastify } from '../../../test/contract/hosts/fastify.js';
import arc from '../src/index.js';

runAdapterContract(t, onFastify(arc));
