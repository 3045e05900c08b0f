/** Writes all of a session down. ARGV from `at`: seq, got, pending, waiting, first number, frames, count of threads, threads. */
const writeState = `
local function writeState(sid, epoch, at)
  local key = session(sid)
  local stale = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 't:' then stale[#stale + 1] = field end
  end
  redis.call('HSET', key, 'seq', ARGV[at], 'got', ARGV[at + 1], 'pending', ARGV[at + 2], 'waiting', ARGV[at + 3],
    'exact', epoch, 'end', ARGV[at])
  for _, field in ipairs(stale) do redis.call('HDEL', key, field) end
  local first, threads = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  for index = at + 6, at + 5 + threads * 2, 2 do redis.call('HSET', key, 't:' .. ARGV[index], ARGV[index + 1]) end
  redis.call('DEL', key .. ':f')
  local from = at + 6 + threads * 2
  if from <= #ARGV then addFrames(sid, first, from, #ARGV) end
end
`;

/** ARGV: name, incarnation, sid, epoch, then the state. */
const park = `${writeState}
local sid, epoch = ARGV[3], ARGV[4]
local held = holderOf(sid)
local isRepeated = held.status == 'parked' and held.epoch == tonumber(epoch) and held.owner == NAME
  and held.incarnation == INC
if isRepeated and isCurrent(NAME, INC) then return 1 end
local problem
held, problem = owned(sid, epoch)
if problem then return problem end
writeState(sid, epoch, 5)
local due = int(now() + held.grace)
unlist(sid, held)
redis.call('ZADD', P .. 'parked', due, sid)
redis.call('HSET', session(sid), 'status', 'parked', 'until', due)
return 1
`;

/** ARGV: name, incarnation, sid, epoch, addressee, then the state. 0 if there is no such living node. */
const handover = `${writeState}
local sid, epoch, to = ARGV[3], ARGV[4], ARGV[5]
local held = holderOf(sid)
local giver = epoch .. ':' .. idOf(NAME, INC)
local isRepeated = held.epoch == tonumber(epoch) + 1 and held.owner == to
  and redis.call('HGET', session(sid), 'giver') == giver
if isRepeated then return 1 end
local problem
held, problem = owned(sid, epoch)
if problem then return problem end
local incarnation = living(to, now())
if not incarnation then return 0 end
writeState(sid, epoch, 6)
unlist(sid, held)
redis.call('HSET', session(sid), 'status', 'owned', 'epoch', int(held.epoch + 1), 'owner', to, 'incarnation',
  incarnation, 'giver', giver)
-- A node of an older build does not remove the mark when it claims the session, and has never asked so.
if redis.call('HGET', session(sid), 'asker') == idOf(to, incarnation) then
  redis.call('HSET', session(sid), 'unclaimed', int(held.epoch + 1))
end
redis.call('ZADD', sessionsOf(idOf(to, incarnation)), int(held.grace), sid)
return 1
`;

/** ARGV: name, incarnation, sid, secret hash, identity key, nonce, lease. Gives a state, and what belongs to it. */
const claim = `
local sid, lease = ARGV[3], tonumber(ARGV[7])
if not isCurrent(NAME, INC) then return failed('FENCED', 'node ' .. NAME) end
local time, key = now(), session(sid)
local _, settles = boot(time, ARGV[6], lease)
local held = holderOf(sid)
if not held.epoch then
  if settles > time then return { 'busy', '', math.min(settles - time, lease) } end
  return { 'unknown' }
end
if held.version ~= VERSION then return failed('VERSION', held.version) end
local access = redis.call('HMGET', key, 'secret', 'key')
if access[1] == '' or access[1] ~= ARGV[4] then return { 'unknown' } end
if access[2] ~= ARGV[5] then return { 'forbidden' } end
if held.status == 'expired' or held.status == 'reaping' then return { 'expired' } end
if held.status == 'parked' then
  if time >= held.due then return { 'expired' } end
  take(sid, held, 'owned', 0)
elseif held.owner ~= NAME or held.incarnation ~= INC then
  local dies = expiryOf(idOf(held.owner, held.incarnation))
  if dies > time then
    -- Where memory is full it is not written down.
    redis.pcall('HSET', key, 'asker', idOf(NAME, INC))
    return { 'busy', held.owner, dies - time }
  end
  if settles > time then return { 'busy', '', math.min(settles - time, lease) } end
  if time >= dies + held.grace then return { 'expired' } end
  take(sid, held, 'owned', 0)
else redis.call('HDEL', key, 'unclaimed') end
return { 'claimed', redis.call('HGETALL', key) }
`;

/** ARGV: name, incarnation, limit, takeoverAfter, nonce, lease. Gives the sessions that the caller has to end. */
const reap = `
if not isCurrent(NAME, INC) then return failed('FENCED', 'node ' .. NAME) end
local time, limit, taken = now(), tonumber(ARGV[3]), {}
local due = time + tonumber(ARGV[4])
local _, settles = boot(time, ARGV[5], ARGV[6])
-- A command may be carried out late, when Redis was away: then no lease was renewed, and the owners may be alive.
if settles > time or expiryOf(idOf(NAME, INC)) <= time then return taken end

-- Sessions of a list, from an offset. Whether there may be more behind them.
local PART = 1000
local function takePart(list, isOfList, latest, offset)
  local found = redis.call('ZRANGEBYSCORE', list, '-inf', int(latest), 'LIMIT', offset, PART)
  for _, sid in ipairs(found) do
    if #taken >= limit then return false end
    local held = holderOf(sid)
    if not held.epoch or not isOfList(held) then redis.call('ZREM', list, sid)
    -- One of another version is left to the nodes of that version, and keeps its place in the list.
    elseif held.version == VERSION then
      take(sid, held, 'reaping', due)
      local record = redis.call('HGETALL', session(sid))
      record[#record + 1] = 'sid'
      record[#record + 1] = sid
      taken[#taken + 1] = record
    end
  end
  return #found == PART
end

-- Those of a list, which holds sessions of one status, or of one node. Those of another version may be so many that looking at all
-- of them would hold Redis up: behind the first part, another part is looked at each time.
local function takeAll(list, isOfList, latest)
  if #taken >= limit or not takePart(list, isOfList, latest, 0) then return end
  local parts = math.max(1, math.floor(redis.call('ZCOUNT', list, '-inf', int(latest)) / PART))
  takePart(list, isOfList, latest, PART * (1 + time % parts))
end

takeAll(P .. 'parked', function(held) return held.status == 'parked' end, time)
takeAll(P .. 'reaping', function(held) return held.status == 'reaping' or held.status == 'expired' end, time)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'nodes', '-inf', int(time))) do
  local list = sessionsOf(id)
  -- Sessions of a node are sorted by their grace: those are due whose grace has passed since the lease ended.
  takeAll(list, function(held)
    return held.status == 'owned' and idOf(held.owner, held.incarnation) == id
  end, time - expiryOf(id))
  if redis.call('EXISTS', list) == 0 then
    local incarnation, name = string.match(id, '^([^:]*):(.*)$')
    redis.call('ZREM', P .. 'nodes', id)
    redis.call('DEL', P .. 'in:' .. id)
    if redis.call('HGET', P .. 'names', name) == incarnation then redis.call('HDEL', P .. 'names', name) end
  end
end
return taken
`;

/** ARGV: name, incarnation, sid, takeoverAfter, nonce, lease. Gives the session, or an empty list. */
const reapOne = `
local sid = ARGV[3]
if not isCurrent(NAME, INC) then return failed('FENCED', 'node ' .. NAME) end
local time = now()
local _, settles = boot(time, ARGV[5], ARGV[6])
local held = holderOf(sid)
if not held.epoch or settles > time then return {} end
if held.version ~= VERSION then return failed('VERSION', held.version) end
if (held.status == 'expired' or held.status == 'reaping') and held.due > time then return {} end
if held.status == 'owned' and (held.owner ~= NAME or held.incarnation ~= INC) then
  if expiryOf(idOf(held.owner, held.incarnation)) > time then return {} end
end
take(sid, held, 'reaping', time + tonumber(ARGV[4]))
return redis.call('HGETALL', session(sid))
`;

export const takeoverScripts = { park, handover, claim, reap, reapOne };
