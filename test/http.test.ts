import { runHostContract } from '@arc/host-contract';
import { onHttp } from '@arc/host-contract/hosts/http';
import t from 'tap';

runHostContract(t, onHttp());
