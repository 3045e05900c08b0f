import { runHostContract } from '@arc/host-contract';
import { onWs } from '@arc/host-contract/hosts/ws';
import t from 'tap';

runHostContract(t, onWs({ asks: false }));
runHostContract(t, onWs({ asks: true }));
