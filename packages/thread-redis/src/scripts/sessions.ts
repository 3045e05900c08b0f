/**
 * ARGV: name, incarnation, sid, epoch or '' for a new one, boot, secret hash or '', identity key, identity, grace, seq,
 * got, pending, nonce, lease, then pairs of a thread's key and entry. Gives the epoch.
 */
const open = `
local sid, epoch = ARGV[3], tonumber(ARGV[4]) or 1
if not isCurrent(NAME, INC) then return failed('FENCED', 'node ' .. NAME) end
local time, id = now(), idOf(NAME, INC)
local held = holderOf(sid)
if held.version and held.version ~= VERSION then return failed('VERSION', held.version) end
local isSame = held.epoch == epoch and held.status == 'owned' and held.owner == NAME and held.incarnation == INC
if held.epoch and held.epoch >= epoch and not isSame then return failed('FENCED', 'session ' .. sid) end
if not held.epoch and ARGV[4] ~= '' and ARGV[5] == boot(time, ARGV[13], ARGV[14]) then
  return failed('FENCED', 'session ' .. sid)
end
if not isSame then
  -- Where memory is full, a script may write on once it has removed something: a new session must not.
  if held.epoch then
    unlist(sid, held)
    redis.call('DEL', session(sid), session(sid) .. ':f')
  end
  redis.call('HSET', session(sid), 'version', VERSION, 'status', 'owned', 'epoch', int(epoch), 'owner', NAME,
    'incarnation', INC, 'secret', ARGV[6], 'key', ARGV[7], 'identity', ARGV[8], 'grace', ARGV[9], 'seq', ARGV[10],
    'got', ARGV[11], 'pending', ARGV[12], 'waiting', '[]', 'exact', '0', 'until', '0', 'end', '0')
  redis.call('ZADD', sessionsOf(id), ARGV[9], sid)
  if ARGV[7] ~= '' then redis.call('SADD', userKey(ARGV[7]), sid) end
  -- A node that data was lost of is found by reapers all the same.
  redis.call('ZADD', P .. 'nodes', 'NX', int(time), id)
elseif ARGV[6] ~= '' and redis.call('HGET', session(sid), 'secret') == '' then
  redis.call('HSET', session(sid), 'secret', ARGV[6], 'key', ARGV[7], 'identity', ARGV[8], 'grace', ARGV[9])
  redis.call('ZADD', sessionsOf(id), ARGV[9], sid)
  if ARGV[7] ~= '' then redis.call('SADD', userKey(ARGV[7]), sid) end
end
for index = 15, #ARGV, 2 do
  local field = 't:' .. ARGV[index]
  -- Where memory is full, nothing is written that is there already.
  if redis.call('HGET', session(sid), field) ~= ARGV[index + 1] then
    redis.call('HSET', session(sid), field, ARGV[index + 1])
  end
end
-- Its owner has it: a failover may have lost the claim. Last, because where memory is full, a script may write on after this.
redis.call('HDEL', session(sid), 'unclaimed')
return epoch
`;

/** ARGV: name, incarnation, sid, epoch, key, entry or '' to remove it. */
const thread = `
local held, problem = owned(ARGV[3], ARGV[4])
if problem then return problem end
if ARGV[6] == '' then redis.call('HDEL', session(ARGV[3]), 't:' .. ARGV[5])
else redis.call('HSET', session(ARGV[3]), 't:' .. ARGV[5], ARGV[6]) end
return 1
`;

/** ARGV: name, incarnation, sid, epoch, first number, then the frames. */
const append = `
local sid, first = ARGV[3], tonumber(ARGV[5])
local held, problem = owned(sid, ARGV[4])
if problem then return problem end
local last = first + #ARGV - 6
local got = redis.call('HMGET', session(sid), 'end', 'seq')
local known = tonumber(got[1])
if last <= known then return 1 end
if first > known + 1 and redis.call('XLEN', session(sid) .. ':f') > 0 then
  return failed('GAP', int(known + 1) .. ' to ' .. int(first - 1))
end
local skipped = math.max(0, known + 1 - first)
addFrames(sid, first + skipped, 6 + skipped, #ARGV)
redis.call('HSET', session(sid), 'end', int(last), 'seq', int(math.max(last, tonumber(got[2]))))
return 1
`;

/** ARGV: name, incarnation, sid, epoch, takeoverAfter. */
const expire = `
local sid = ARGV[3]
local held, problem = owned(sid, ARGV[4])
if problem then return problem end
if held.status == 'expired' then return 1 end
local due = int(now() + tonumber(ARGV[5]))
unlist(sid, held)
redis.call('ZADD', P .. 'reaping', due, sid)
redis.call('HSET', session(sid), 'status', 'expired', 'until', due)
return 1
`;

/** ARGV: name, incarnation, sid, epoch. */
const close = `
local sid = ARGV[3]
if redis.call('EXISTS', session(sid)) == 0 then return 1 end
local held, problem = owned(sid, ARGV[4])
if problem then return problem end
unlist(sid, held)
local key = redis.call('HGET', session(sid), 'key')
if key and key ~= '' then redis.call('SREM', userKey(key), sid) end
redis.call('DEL', session(sid), session(sid) .. ':f')
return 1
`;

export const sessionScripts = { open, thread, append, expire, close };
