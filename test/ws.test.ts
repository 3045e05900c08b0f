import t from 'tap';
import { runAdapterContract } from './contract/contract.js';
import { onWs } from './contract/hosts/ws.js';

runAdapterContract(t, onWs({ asks: false }));
runAdapterContract(t, onWs({ asks: true }));
