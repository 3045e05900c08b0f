import { runHostContract } from '@arc/host-contract';
import { onKoa3 } from '@arc/host-contract/hosts/koa';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, onKoa3(arc));
