/// <reference path="../packages/host-contract/src/hosts/aliases.d.ts" />
