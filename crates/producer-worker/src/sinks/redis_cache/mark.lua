-- Replaces the marker's token where it still is what was compared. Answers 1 where it did.
-- KEYS: the marker. ARGV: the token that was found, or ''; the new one; '1' where no snapshot is under way.
local marker = KEYS[1]
local found, token, is_log = unpack(ARGV)
if (redis.call('HGET', marker, 'token') or '') ~= found then
    return 0
end
redis.call('HSET', marker, 'token', token)
if is_log == '1' then
    redis.call('HDEL', marker, 'snapshot')
end
return 1
