DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('car_entities') AND relkind = 'v') THEN
        DROP VIEW car_entities;
    END IF;
END
$$;

DROP FUNCTION car_entities_create_view();

DROP FUNCTION car_entities_refuse_write();

DROP FUNCTION entity_search_words(integer, text, text, text, text, text);

DROP TABLE dead_letters;

DROP TABLE connectors;

DROP TABLE entity_search;

DROP TABLE entity_index;

DROP TABLE type_generation;

DROP TABLE type_parts;

DROP TABLE type_definitions;

DROP TABLE event_log_epoch;

DROP TABLE event_log_times;

DROP TABLE event_log;

DROP SEQUENCE event_log_position;

DROP TABLE entities;
