import t from 'tap';
import { runAdapterContract } from '../../../test/contract/contract.js';
import { onKoa3 } from '../../../test/contract/hosts/koa.js';
import arc from '../src/index.js';

runAdapterContract(t, onKoa3(arc));
