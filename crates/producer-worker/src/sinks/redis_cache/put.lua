-- Writes or removes an entity, unless something newer is known. Answers 1 where it did.
-- KEYS: the entity's key; its guard; the sink's marker.
-- ARGV: how the JSON of the entity begins, up to its version; the JSON, or '' to remove it; its version; the
--   change's position in the log and the log's epoch, or ''; milliseconds until the key ends, or ''; milliseconds
--   for which the guard is kept, or ''; the snapshot that this is part of, or ''.
local key, guard, marker = KEYS[1], KEYS[2], KEYS[3]
local head, value, version, position, epoch, ttl, keep, snapshot = unpack(ARGV)
local removes = value == ''

-- numbers as texts: a number of Lua has 53 bits
local function less(a, b)
    return #a < #b or #a == #b and a < b
end

-- an error where the key is no string, which is somebody else's then
local found = redis.call('GETRANGE', key, 0, #head + 20)

-- what a snapshot sends replaces whatever is there, as long as it is the sink's last one
if snapshot == '' or redis.call('HGET', marker, 'snapshot') ~= snapshot then
    local cached = string.sub(found, 1, #head) == head and string.match(found, '^%d+', #head + 1)
    if cached and less(version, cached) then
        return 0
    end
    local guarded = redis.call('GET', guard) or ''
    local state, kept, at, log = string.match(guarded, '^(%a+) (%d+) (%d*) (%S*)$')
    if kept then
        local older = less(version, kept) or version == kept and state == 'deleted' and not removes
        local other_log = log ~= '' and epoch ~= '' and log ~= epoch
        -- an entity that was pruned begins with version 1 again
        local behind = at ~= '' and position ~= '' and less(at, position)
        if older and not behind and not other_log then
            return 0
        end
    end
end

-- first what needs memory: behind a command that wrote, Redis no longer refuses for the lack of it
if removes then
    redis.call('DEL', key)
elseif ttl ~= '' then
    redis.call('SET', key, value, 'PX', ttl)
else
    redis.call('SET', key, value)
end
if keep ~= '' then
    local state = removes and 'deleted' or 'written'
    redis.call('SET', guard, state .. ' ' .. version .. ' ' .. position .. ' ' .. epoch, 'PX', keep)
else
    redis.call('DEL', guard)
end
return 1
