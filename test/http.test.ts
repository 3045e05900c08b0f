import { runHostContract } from '@arc/host-contract';
import { httpHost } from '@arc/host-contract/hosts/http';
import t from 'tap';

runHostContract(t, httpHost());
