import { runHostContract } from '@arc/host-contract';
import { koa3Host } from '@arc/host-contract/hosts/koa';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, koa3Host(arc));
