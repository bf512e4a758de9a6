/** The schema of the PostgreSQL store, step by step. A step that was released is never changed; new ones come behind it. */

/**
 * Each step in SQL; `{schema}` is the quoted name of the schema.
 *
 * `commit_changes` does one commit in one call. It first takes a lock for each limit (those commits go one by one, so that the
 * count at the end holds), then records in order of kind and id, then unique keys: two commits meet in the same order and
 * seldom deadlock. It works in READ COMMITTED: an update that waited for another looks at the version anew.
 */
export const MIGRATIONS: readonly string[] = [
  `
CREATE SEQUENCE {schema}.record_version;
CREATE TABLE {schema}.record (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  value jsonb NOT NULL,
  unique_keys text[] COLLATE "C" NOT NULL,
  index_keys text[] COLLATE "C" NOT NULL,
  place bigint NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE TABLE {schema}.record_unique (
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  PRIMARY KEY (kind, key)
);
CREATE TABLE {schema}.record_index (
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  place bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  PRIMARY KEY (kind, key, place, id)
);
CREATE FUNCTION {schema}.refuse(reason text, kind text, id text, key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'conflict' USING ERRCODE = 'HV001',
    DETAIL = jsonb_build_object('reason', reason, 'kind', kind, 'id', id, 'key', key)::text;
END $$;
CREATE FUNCTION {schema}.commit_changes(changes jsonb) RETURNS TABLE (change_place integer, new_version bigint) LANGUAGE plpgsql AS $$
DECLARE
  c record;
  old {schema}.record%ROWTYPE;
  fresh bigint;
BEGIN
  FOR c IN
    SELECT DISTINCT e->>'kind' AS k, e->>'index' AS x FROM jsonb_array_elements(changes) e
    WHERE e->>'op' = 'limit' ORDER BY 1, 2
  LOOP
    PERFORM pg_advisory_xact_lock(hashtextextended('{name}/' || c.k || '/' || c.x, 0));
  END LOOP;
  FOR c IN
    SELECT e, e->>'op' AS op, e->>'kind' AS k, e->>'id' AS i, (e->>'expected')::bigint AS expected, (ordinality - 1)::integer AS at
    FROM jsonb_array_elements(changes) WITH ORDINALITY AS list(e, ordinality)
    WHERE e->>'op' <> 'limit' ORDER BY (e->>'kind') COLLATE "C", (e->>'id') COLLATE "C"
  LOOP
    IF c.expected = 0 THEN
      INSERT INTO {schema}.record VALUES (c.k, c.i, nextval('{schema}.record_version'), c.e->'value',
        ARRAY(SELECT jsonb_array_elements_text(c.e->'unique')), ARRAY(SELECT jsonb_array_elements_text(c.e->'index')),
        (c.e->>'order')::bigint)
      ON CONFLICT DO NOTHING RETURNING version INTO fresh;
      IF fresh IS NULL THEN PERFORM {schema}.refuse('version', c.k, c.i, NULL); END IF;
    ELSIF c.op = 'expect' THEN
      PERFORM 1 FROM {schema}.record r WHERE r.kind = c.k AND r.id = c.i AND r.version = c.expected FOR SHARE;
      IF NOT FOUND THEN PERFORM {schema}.refuse('version', c.k, c.i, NULL); END IF;
      CONTINUE;
    ELSE
      SELECT * INTO old FROM {schema}.record r WHERE r.kind = c.k AND r.id = c.i AND r.version = c.expected FOR UPDATE;
      IF NOT FOUND THEN PERFORM {schema}.refuse('version', c.k, c.i, NULL); END IF;
      DELETE FROM {schema}.record_unique u WHERE u.kind = c.k AND u.key = ANY (old.unique_keys);
      DELETE FROM {schema}.record_index x WHERE x.kind = c.k AND x.key = ANY (old.index_keys) AND x.place = old.place AND x.id = c.i;
      IF c.op = 'delete' THEN
        DELETE FROM {schema}.record r WHERE r.kind = c.k AND r.id = c.i;
        CONTINUE;
      END IF;
      UPDATE {schema}.record r SET version = nextval('{schema}.record_version'), value = c.e->'value',
        unique_keys = ARRAY(SELECT jsonb_array_elements_text(c.e->'unique')),
        index_keys = ARRAY(SELECT jsonb_array_elements_text(c.e->'index')), place = (c.e->>'order')::bigint
      WHERE r.kind = c.k AND r.id = c.i RETURNING version INTO fresh;
    END IF;
    INSERT INTO {schema}.record_index SELECT c.k, key, (c.e->>'order')::bigint, c.i FROM jsonb_array_elements_text(c.e->'index') AS key;
    change_place := c.at;
    new_version := fresh;
    RETURN NEXT;
  END LOOP;
  FOR c IN
    SELECT e->>'kind' AS k, e->>'id' AS i, key FROM jsonb_array_elements(changes) e, jsonb_array_elements_text(e->'unique') AS key
    WHERE e->>'op' = 'put' ORDER BY (e->>'kind') COLLATE "C", key COLLATE "C"
  LOOP
    INSERT INTO {schema}.record_unique VALUES (c.k, c.key, c.i) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN PERFORM {schema}.refuse('unique', c.k, c.i, c.key); END IF;
  END LOOP;
  FOR c IN SELECT e->>'kind' AS k, e->>'index' AS x, (e->>'atMost')::bigint AS most FROM jsonb_array_elements(changes) e WHERE e->>'op' = 'limit'
  LOOP
    IF (SELECT count(*) FROM {schema}.record_index r WHERE r.kind = c.k AND r.key = c.x) > c.most THEN
      PERFORM {schema}.refuse('limit', c.k, c.x, NULL);
    END IF;
  END LOOP;
END $$;
`,
];
