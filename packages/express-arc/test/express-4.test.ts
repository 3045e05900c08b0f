import { runHostContract } from '@arc/host-contract';
import { onExpress4 } from '@arc/host-contract/hosts/express';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, onExpress4(arc));
