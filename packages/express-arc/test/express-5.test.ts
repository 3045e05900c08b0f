import t from 'tap';
import { runAdapterContract } from '../../../test/contract/contract.js';
import { onExpress5 } from '../../../test/contract/hosts/express.js';
import arc from '../src/index.js';

runAdapterContract(t, onExpress5(arc));
