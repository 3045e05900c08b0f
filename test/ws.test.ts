import { runHostContract } from '@arc/host-contract';
import { wsHost } from '@arc/host-contract/hosts/ws';
import t from 'tap';

runHostContract(t, wsHost({ verifies: false }));
runHostContract(t, wsHost({ verifies: true }));
