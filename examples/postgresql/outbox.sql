-- Captures every change of tables that you name, in the transaction that makes it: a change is in the outbox if and only if it is
-- committed. relay.py carries the outbox into a NATS stream. docs/POSTGRESQL.md explains all of it.
--
--   psql mydb -f outbox.sql
--   psql mydb -c "SELECT daybook.watch('orders', 'shop', 'id')"

CREATE SCHEMA IF NOT EXISTS daybook;

-- A change has the form of a Debezium message. `seq` is the version of its row: changes of one row wait for each other, so their
-- order is that of `seq`, also where transactions overlap.
CREATE TABLE IF NOT EXISTS daybook.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,                        -- schema and table, as tokens of a NATS subject
    op text NOT NULL,                            -- c created, u updated, d deleted, r read when the table was first watched
    before jsonb,
    after jsonb,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failed text                                  -- why the relay cannot carry it; it passes over such changes
);

CREATE OR REPLACE FUNCTION daybook.source_of(watched regclass) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT regexp_replace(nspname, '[^A-Za-z0-9_-]', '_', 'g') || '.' || regexp_replace(relname, '[^A-Za-z0-9_-]', '_', 'g')
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = watched
$$;

-- Runs with the rights of who made it, so that programs need no rights on the outbox. Its arguments are the source (for a partition
-- that of its table), and the columns that say which entity a row is. When one of them changes, the old entity ends and a new one
-- begins.
CREATE OR REPLACE FUNCTION daybook.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    origin text := TG_ARGV[0];
    is_other boolean := false;
    key text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        FOREACH key IN ARRAY TG_ARGV[1:] LOOP
            is_other := is_other OR to_jsonb(OLD) -> key IS DISTINCT FROM to_jsonb(NEW) -> key;
        END LOOP;
    END IF;
    IF TG_OP = 'DELETE' OR is_other THEN
        INSERT INTO daybook.outbox (source, op, before) VALUES (origin, 'd', to_jsonb(OLD));
    END IF;
    IF TG_OP = 'INSERT' OR is_other THEN
        INSERT INTO daybook.outbox (source, op, after) VALUES (origin, 'c', to_jsonb(NEW));
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO daybook.outbox (source, op, before, after) VALUES (origin, 'u', to_jsonb(OLD), to_jsonb(NEW));
    END IF;
    PERFORM pg_notify('daybook_outbox', '');
    RETURN NULL;
END $$;

-- TRUNCATE fires no trigger of a row: every row is deleted by hand.
CREATE OR REPLACE FUNCTION daybook.capture_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO daybook.outbox (source, op, before) SELECT %L, %L, to_jsonb(t) FROM %I.%I AS t',
        TG_ARGV[0], 'd', TG_TABLE_SCHEMA, TG_TABLE_NAME
    );
    PERFORM pg_notify('daybook_outbox', '');
    RETURN NULL;
END $$;

-- Watches a table from now on, and captures the rows that are there. It locks the table against writes while it runs.
CREATE OR REPLACE FUNCTION daybook.watch(watched regclass, VARIADIC keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    origin text := daybook.source_of(watched);
    key text;
BEGIN
    FOREACH key IN ARRAY keys LOOP
        PERFORM 1 FROM pg_attribute WHERE attrelid = watched AND attname = key AND NOT attisdropped;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the table % has no column %', watched, key;
        END IF;
    END LOOP;
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', watched);
    EXECUTE format(
        'CREATE TRIGGER daybook_capture AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION daybook.capture(%s)',
        watched, (SELECT string_agg(quote_literal(name), ', ') FROM unnest(origin || keys) AS name)
    );
    EXECUTE format(
        'CREATE TRIGGER daybook_capture_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION daybook.capture_truncate(%L)',
        watched, origin
    );
    EXECUTE format(
        'INSERT INTO daybook.outbox (source, op, after) SELECT %L, %L, to_jsonb(t) FROM %s AS t',
        origin, 'r', watched
    );
    NOTIFY daybook_outbox;
END $$;

CREATE OR REPLACE FUNCTION daybook.unwatch(watched regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS daybook_capture ON %s', watched);
    EXECUTE format('DROP TRIGGER IF EXISTS daybook_capture_truncate ON %s', watched);
END $$;
