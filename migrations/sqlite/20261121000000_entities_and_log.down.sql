-- DROP VIEW fails where car_entities is a table (the older services'), and SQLite has no condition
-- around it. A view has no pages of its own, so deleting its row of the schema removes it.
PRAGMA writable_schema = ON;
DELETE FROM sqlite_schema WHERE type = 'view' AND name = 'car_entities';
PRAGMA writable_schema = RESET;
DROP TABLE dead_letters;
DROP TABLE connectors;
DROP TABLE entity_search_english;
DROP TABLE entity_search_simple;
DROP TABLE entity_search;
DROP TABLE entity_index;
DROP TABLE type_generation;
DROP TABLE type_parts;
DROP TABLE type_definitions;
DROP TABLE event_log_epoch;
DROP TABLE event_log_times;
DROP TABLE event_log;
DROP TABLE entities;
