import type { Ownership, StoredSession, StoreNode } from './session-store.js';

/** A session, and whose it is. `parked` has no owner; `expired` and `reaping` are being ended by theirs. */
export interface StoredRecord extends Omit<StoredSession, 'exact'> {
  status: 'owned' | 'parked' | 'expired' | 'reaping';
  epoch: number;
  owner: Pick<StoreNode, 'name' | 'incarnation'>;
  secretHash: string | undefined;
  /** The epoch at whose end the last owner wrote all of it down. */
  exactAt: number;
  /** It was handed over, and its owner has not claimed it yet. */
  isUnclaimed: boolean;
  /** The former owner after a handover, so that a repeated handover is recognised. */
  handedOverBy: Ownership | undefined;
  /** When a parked session may be reaped, or when an expired or reaped one may be taken over. */
  until: number;
}

/** A copy, because stored data must not change with the caller's objects. */
export function clone<T>(value: T): T {
  return structuredClone(value);
}

export function toOwnership({ sid, epoch, owner }: StoredRecord): Ownership {
  return { sid, epoch, node: owner.name, incarnation: owner.incarnation };
}

export function isOwner({ owner }: StoredRecord, node: StoreNode): boolean {
  return owner.name === node.name && owner.incarnation === node.incarnation;
}

export function isOwnership({ epoch, owner }: StoredRecord, owned: Ownership): boolean {
  return epoch === owned.epoch && owner.name === owned.node && owner.incarnation === owned.incarnation;
}

export function isSameOwnership(one: Ownership, other: Ownership): boolean {
  return one.epoch === other.epoch && one.node === other.node && one.incarnation === other.incarnation;
}
