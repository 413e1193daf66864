-- Deletes consumers that have nothing pending: one by its name, and those that did nothing for long.
-- KEYS: the stream. ARGV: the group; the name; milliseconds. In one step, since deleting a consumer forgets what is
-- pending.
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for at = 1, #facts, 2 do
        consumer[facts[at]] = facts[at + 1]
    end
    local is_left = consumer.name == ARGV[2] or consumer.idle > tonumber(ARGV[3])
    if consumer.pending == 0 and is_left then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    end
end
