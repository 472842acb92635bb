-- depends: 0004_idempotency_counts
-- Records that a consumer could not take, as they lie in orders.dlq: to be seen, replayed or discarded by a person.
CREATE TABLE api.dead_letter (
    letter_id     uuid PRIMARY KEY, -- made of topic, key, bytes and headers: the same record again is the same letter
    topic         text NOT NULL,    -- where it came from, as the letter says
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    dlq_offset    bigint NOT NULL,  -- of the newest letter about it
    record_key    bytea,            -- null as Kafka means it
    value         bytea NOT NULL,
    headers       json NOT NULL,    -- [[name, base64], ...] of the original; json and not jsonb, which refuses NUL
    error         text NOT NULL,
    order_id      uuid,             -- of its headers, where they can be read
    client        text,
    first_seen    timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,
    times         integer NOT NULL DEFAULT 1 CHECK (times > 0),
    state         text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replaying', 'replayed', 'discarded')),
    replays       integer NOT NULL DEFAULT 0 CHECK (replays >= 0),
    changed_at    timestamptz,
    changed_by    text,             -- the API key that asked
    reason        text
);
CREATE INDEX dead_letter_newest ON api.dead_letter (first_seen, letter_id);
CREATE INDEX dead_letter_waiting ON api.dead_letter (first_seen, letter_id) WHERE state IN ('waiting', 'replaying');
CREATE INDEX dead_letter_order ON api.dead_letter (order_id) WHERE state <> 'replayed' AND order_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE ON api.dead_letter TO order_api;

-- An order as clients see it. Parked: no executor has spoken of it yet, and its record lies in the dead letters.
CREATE VIEW api.shown_order AS
SELECT o.*, o.version = 0 AND o.status = 'accepted' AND EXISTS (
           SELECT FROM api.dead_letter d
            WHERE d.order_id = o.order_id AND d.client = o.client AND d.state <> 'replayed') AS parked
  FROM api.orders o;
GRANT SELECT ON api.shown_order TO order_api;
