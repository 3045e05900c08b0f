import { StoreError } from '@arc/thread-core';

/**
 * Refuses a server that would lose sessions, or cannot run the scripts, by what its INFO says.
 * @throws StoreError `failed`
 */
export function checkServer(info: string): void {
  const value = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  if (value('cluster_enabled') === '1') {
    throw new StoreError('failed', 'Redis runs as a Redis Cluster: use one primary, with Sentinel for failover');
  }
  const policy = value('maxmemory_policy');
  if (policy?.startsWith('allkeys') && value('maxmemory') !== '0') {
    throw new StoreError('failed', `Redis would evict sessions: set maxmemory-policy to noeviction, not ${policy}`);
  }
  // Valkey says here which Redis it is compatible with.
  const [major = 0, minor = 0] = (value('redis_version') ?? '').split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    throw new StoreError('failed', `Redis ${value('redis_version')} is too old: 6.2 or newer is needed`);
  }
}
