import { runHostContract } from '@arc/host-contract';
import { onWs } from '@arc/host-contract/hosts/ws';
import t from 'tap';

runHostContract(t, onWs({ verifies: false }));
runHostContract(t, onWs({ verifies: true }));
