-- depends: 0003_order_lists
-- What became of idempotency keys, per client and minute. Each process writes rows of its own with absolute numbers, so
-- that a statement that is repeated because its answer was lost counts nothing twice.
CREATE TABLE api.idempotency_count (
    client        text NOT NULL,
    minute        timestamptz NOT NULL,
    process_id    uuid NOT NULL,
    first_accepts bigint NOT NULL CHECK (first_accepts >= 0),
    denials       bigint NOT NULL CHECK (denials >= 0),
    replays       bigint NOT NULL CHECK (replays >= 0),
    conflicts     bigint NOT NULL CHECK (conflicts >= 0),
    expired       bigint NOT NULL CHECK (expired >= 0),
    PRIMARY KEY (client, minute, process_id)
) WITH (fillfactor = 70);
CREATE INDEX idempotency_count_old ON api.idempotency_count (minute);

-- The last conflicts of each client; `conflict_id` is made by time, so that the newest are the highest.
CREATE TABLE api.idempotency_conflict (
    client      text NOT NULL,
    conflict_id uuid NOT NULL,
    at          timestamptz NOT NULL,
    key         text NOT NULL,
    order_id    uuid NOT NULL, -- of the request that stands
    differs     text[] NOT NULL,
    key_id      text NOT NULL, -- the API key that asked
    PRIMARY KEY (client, conflict_id)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON api.idempotency_count TO order_api;
GRANT SELECT, INSERT, DELETE ON api.idempotency_conflict TO order_api;
