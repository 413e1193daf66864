-- SQLite knows no condition around DROP VIEW, which fails where car_entities is a table (the older
-- services'). A view has no pages of its own: its row in the schema is all there is of it.
PRAGMA writable_schema = ON;
DELETE FROM sqlite_schema WHERE type = 'view' AND name = 'car_entities';
PRAGMA writable_schema = RESET;
DROP TABLE event_log;
DROP TABLE entities;
