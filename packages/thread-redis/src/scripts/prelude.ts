/**
 * What all scripts begin with. KEYS[1] is the prefix of all keys, ARGV[1] and ARGV[2] the name and the incarnation of
 * the calling node. Keys are computed, which only Redis Cluster forbids. Numbers are formatted with `int`: Lua's own
 * conversion loses digits beyond the 14th.
 */
export const prelude = `
local P, NAME, INC = KEYS[1], ARGV[1], ARGV[2]
local VERSION = '1'

local function int(number) return string.format('%.0f', number) end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function idOf(name, incarnation) return incarnation .. ':' .. name end
local function session(sid) return P .. 's:' .. sid end
local function sessionsOf(id) return P .. 'n:' .. id end
local function userKey(key) return P .. 'u:' .. redis.sha1hex(key) end
local function failed(code, about) return redis.error_reply('ARC' .. code .. ' ' .. about) end

-- Whether no other process has taken the name.
local function isCurrent(name, incarnation)
  local holder = redis.call('HGET', P .. 'names', name)
  return not holder or holder == incarnation
end

-- When the lease of a node ends, or did; 0 for one that is unknown.
local function expiryOf(id) return tonumber(redis.call('ZSCORE', P .. 'nodes', id) or '0') end

-- The incarnation of a living node, or nil.
local function living(name, time)
  local incarnation = redis.call('HGET', P .. 'names', name)
  if incarnation and expiryOf(idOf(name, incarnation)) > time then return incarnation end
end

-- The fields of a session that say whose it is. Epoch is nil where there is no such session.
local function holderOf(sid)
  local got = redis.call('HMGET', session(sid), 'version', 'status', 'epoch', 'owner', 'incarnation', 'until', 'grace')
  return {
    version = got[1], status = got[2], epoch = tonumber(got[3] or nil), owner = got[4], incarnation = got[5],
    due = tonumber(got[6] or '0'), grace = tonumber(got[7] or '0'),
  }
end

-- The session, where the caller owns it under this epoch; else nil, and the error to return.
local function owned(sid, epoch)
  if not isCurrent(NAME, INC) then return nil, failed('FENCED', 'node ' .. NAME) end
  local held = holderOf(sid)
  if held.version and held.version ~= VERSION then return nil, failed('VERSION', held.version) end
  if held.epoch ~= tonumber(epoch) or held.owner ~= NAME or held.incarnation ~= INC or held.status == 'parked' then
    return nil, failed('FENCED', 'session ' .. sid)
  end
  return held
end

-- Names the life of the data. It changes when Redis was flushed, restarted or failed over; for one lease after that
-- nodes register their sessions again, and nobody claims or reaps: until when, is the second result.
local function boot(time, nonce, lease)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local known = redis.call('HMGET', P .. 'boot', 'run', 'id', 'until')
  if known[1] == run then return known[2], tonumber(known[3]) end
  local settles = time + tonumber(lease)
  -- A client that lost its connection sends a command again: its nonce may have named the data that was lost since.
  local id = nonce .. ':' .. run .. ':' .. int(time)
  redis.call('HSET', P .. 'boot', 'run', run, 'id', id, 'until', int(settles))
  return id, settles
end

-- Removes a session from the lists in which it is found.
local function unlist(sid, held)
  redis.call('ZREM', P .. 'parked', sid)
  redis.call('ZREM', P .. 'reaping', sid)
  if held.owner then redis.call('ZREM', sessionsOf(idOf(held.owner, held.incarnation)), sid) end
end

-- Makes the caller the owner of a session, with the next epoch.
local function take(sid, held, status, due)
  unlist(sid, held)
  -- Its owner got it in a handover and never claimed it: all of it is as it was written down.
  if redis.call('HGET', session(sid), 'unclaimed') == int(held.epoch) then
    redis.call('HSET', session(sid), 'exact', int(held.epoch))
  end
  redis.call('HDEL', session(sid), 'unclaimed')
  redis.call('HSET', session(sid), 'status', status, 'epoch', int(held.epoch + 1), 'owner', NAME, 'incarnation', INC,
    'until', int(due))
  if status == 'owned' then
    redis.call('ZADD', sessionsOf(idOf(NAME, INC)), int(held.grace), sid)
    redis.call('ZADD', P .. 'nodes', 'NX', int(now()), idOf(NAME, INC))
  else
    redis.call('ZADD', P .. 'reaping', int(due), sid)
    -- Nobody sends it any more, and that of many sessions may be too much for one answer.
    redis.call('HSET', session(sid), 'waiting', '[]')
  end
end

-- Adds the frames ARGV[from] to ARGV[to] to a journal. One entry holds a bounded number: so many as Lua can unpack.
local function addFrames(sid, firstSeq, from, to)
  for start = from, to, 1000 do
    local stop, entry = math.min(start + 999, to), {}
    for index = start, stop do
      entry[#entry + 1] = 'f'
      entry[#entry + 1] = ARGV[index]
    end
    local first = firstSeq + start - from
    redis.call('XADD', session(sid) .. ':f', int(first + stop - start) .. '-0', 'n', int(first), unpack(entry))
  end
end
`;
