DROP VIEW IF EXISTS car_entities;
DROP TABLE event_log;
DROP TABLE entities;
