import { runHostContract } from '@arc/host-contract';
import { express4Host } from '@arc/host-contract/hosts/express';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, express4Host(arc));
