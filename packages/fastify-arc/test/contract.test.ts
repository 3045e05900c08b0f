import { runHostContract } from '@arc/host-contract';
import { fastifyHost } from '@arc/host-contract/hosts/fastify';
import t from 'tap';
import arc from '../src/index.js';

runHostContract(t, fastifyHost(arc));
