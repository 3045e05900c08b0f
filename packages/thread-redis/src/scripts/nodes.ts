/** ARGV: name, incarnation. Whether the name is the caller's. */
const current = `
if isCurrent(NAME, INC) then return 1 end
return failed('FENCED', 'node ' .. NAME)
`;

/** ARGV: name, incarnation, lease, nonce, '1' to take the name. Gives sessions, fenced, lapsed, boot. */
const renew = `
-- A removal first: where memory is full, a script may still write once it has written.
redis.call('ZREM', P .. 'nodes', '')
local time, id = now(), idOf(NAME, INC)
local bootId = boot(time, ARGV[4], ARGV[3])
local holder = redis.call('HGET', P .. 'names', NAME)
if holder and holder ~= INC then
  if ARGV[5] ~= '1' then return { redis.call('ZCARD', sessionsOf(id)), 1, 1, bootId } end
  redis.call('ZADD', P .. 'nodes', 'XX', 'LT', int(time), idOf(NAME, holder))
  redis.call('DEL', P .. 'in:' .. idOf(NAME, holder))
end
local lapsed = expiryOf(id) <= time and 1 or 0
redis.call('ZADD', P .. 'nodes', int(time + tonumber(ARGV[3])), id)
redis.call('HSET', P .. 'names', NAME, INC)
return { redis.call('ZCARD', sessionsOf(id)), 0, lapsed, bootId }
`;

/** ARGV: name, incarnation. Ends the lease; the last node takes along what would be left of an empty cluster. */
const leave = `
local id = idOf(NAME, INC)
redis.call('DEL', P .. 'in:' .. id)
if redis.call('HGET', P .. 'names', NAME) == INC then redis.call('HDEL', P .. 'names', NAME) end
if redis.call('ZCARD', sessionsOf(id)) == 0 then redis.call('ZREM', P .. 'nodes', id)
else redis.call('ZADD', P .. 'nodes', 'XX', 'LT', int(now()), id) end
if redis.call('EXISTS', P .. 'nodes', P .. 'parked', P .. 'reaping') == 0 then redis.call('DEL', P .. 'boot') end
return 1
`;

/** The names of the living nodes. */
const nodes = `
local time, found = now(), {}
local names = redis.call('HGETALL', P .. 'names')
for index = 1, #names, 2 do
  if expiryOf(idOf(names[index], names[index + 1])) > time then found[#found + 1] = names[index] end
end
return found
`;

/** ARGV: name, incarnation. The sessions of the node. */
const sessionsOn = `
return redis.call('ZRANGE', sessionsOf(idOf(NAME, INC)), 0, -1)
`;

/** ARGV: '', '', identity key. Pairs of a session and its living owner, or ''. */
const sessionsOfIdentity = `
local time, found = now(), {}
for _, sid in ipairs(redis.call('SMEMBERS', userKey(ARGV[3]))) do
  local held = holderOf(sid)
  if held.epoch then
    local isAlive = held.status ~= 'parked' and expiryOf(idOf(held.owner, held.incarnation)) > time
    found[#found + 1] = sid
    found[#found + 1] = isAlive and held.owner or ''
  end
end
return found
`;

/** ARGV: '', '', addressee, message, most messages. 1, or 0 if there is no such living node. */
const post = `
local incarnation = living(ARGV[3], now())
if not incarnation then return 0 end
local inbox = P .. 'in:' .. idOf(ARGV[3], incarnation)
if redis.call('XLEN', inbox) >= tonumber(ARGV[5]) then return failed('FULL', 'node ' .. ARGV[3]) end
redis.call('XADD', inbox, '*', 'm', ARGV[4])
return 1
`;

export const nodeScripts = { current, renew, leave, nodes, sessionsOn, sessionsOfIdentity, post };
