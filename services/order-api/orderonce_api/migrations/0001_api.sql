-- depends: 0001_control
-- The order API's own schema. `idempotency_key` decides what was accepted once; `orders` is what a client sees;
-- `outbox` holds a command until the executor has said that it is claimed.

CREATE SCHEMA api;
GRANT USAGE ON SCHEMA api TO order_api;

-- Order of acceptance. Taken under FOR SHARE of the account's control row, so that a later cancel-all can draw a line.
CREATE SEQUENCE api.accept_seq AS bigint;

-- One key space per client over all commands. `command_id` is drawn afresh for every request: a row that comes back
-- with the id that was offered was inserted by that very request (xmax cannot be asked for on a partitioned table).
CREATE TABLE api.idempotency_key (
    client              text NOT NULL,
    key                 text NOT NULL CHECK (key ~ '^[A-Za-z0-9_.:-]{16,64}$'),
    command_id          uuid NOT NULL,
    order_id            uuid NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('place', 'cancel')),
    fingerprint         bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    fingerprint_version smallint NOT NULL CHECK (fingerprint_version > 0),
    canonical           text NOT NULL, -- what was hashed: so that a conflict can name the fields that differ
    status              smallint NOT NULL CHECK (status BETWEEN 200 AND 499),
    body                bytea NOT NULL, -- replayed byte for byte
    created_at          timestamptz NOT NULL,
    PRIMARY KEY (client, key)
) PARTITION BY HASH (client);
DO $$
BEGIN
    FOR part IN 0..7 LOOP
        EXECUTE format('CREATE TABLE api.idempotency_key_%s PARTITION OF api.idempotency_key
                        FOR VALUES WITH (MODULUS 8, REMAINDER %s)', part, part);
    END LOOP;
END $$;

CREATE TABLE api.orders (
    order_id         uuid PRIMARY KEY,
    client           text NOT NULL,
    key              text NOT NULL,
    key_id           text NOT NULL,
    account          text NOT NULL,
    venue            text NOT NULL,
    symbol           text NOT NULL,
    side             text NOT NULL CHECK (side IN ('buy', 'sell')),
    type             text NOT NULL CHECK (type IN ('market', 'limit')),
    quantity         control.amount NOT NULL CHECK (quantity > 0),
    price            control.amount CHECK (price > 0),
    time_in_force    text NOT NULL CHECK (time_in_force IN ('gtc', 'ioc', 'fok')),
    post_only        boolean NOT NULL,
    client_tag       text CHECK (length(client_tag) BETWEEN 1 AND 64),
    client_order_id  text NOT NULL,
    schema           text NOT NULL,
    payload_hash     text NOT NULL,
    traceparent      text NOT NULL,
    accept_seq       bigint NOT NULL,
    next_seq         integer NOT NULL DEFAULT 2 CHECK (next_seq >= 2), -- of the next command on this order
    timeline         text NOT NULL, -- of the acceptance
    accepted_at      timestamptz NOT NULL,
    deadline         timestamptz NOT NULL,
    -- what the executor said last; (event_timeline, version) only rises
    event_timeline   text NOT NULL DEFAULT '',
    version          bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    status           text NOT NULL CHECK (status IN ('accepted', 'sending', 'open', 'filled', 'canceled', 'rejected',
                                                     'lapsed', 'denied', 'not_placed', 'unknown')),
    final            boolean NOT NULL,
    reason_code      text,
    reason_detail    text,
    cancel_requested boolean NOT NULL DEFAULT false,
    venue_order_id   text,
    filled_quantity  control.amount NOT NULL DEFAULT 0,
    filled_cost      control.amount NOT NULL DEFAULT 0,
    fees             jsonb NOT NULL DEFAULT '[]',
    sent_at          timestamptz,
    updated_at       timestamptz NOT NULL,
    UNIQUE (client, key),
    CHECK ((type = 'limit') = (price IS NOT NULL)),
    CHECK ((reason_code IS NULL) = (reason_detail IS NULL)),
    CHECK (final = (status IN ('filled', 'canceled', 'rejected', 'lapsed', 'denied', 'not_placed')))
) WITH (fillfactor = 80);
CREATE INDEX orders_newest ON api.orders (client, accept_seq);
CREATE INDEX orders_live ON api.orders (client, accept_seq) WHERE NOT final;

-- What has to be on Kafka until it is claimed. The terms stand in `orders`: any process can build the record again.
CREATE TABLE api.outbox (
    client      text NOT NULL,
    key         text NOT NULL,
    order_id    uuid NOT NULL REFERENCES api.orders,
    kind        text NOT NULL CHECK (kind IN ('place', 'cancel')),
    account     text NOT NULL, -- the record's key
    key_id      text NOT NULL,
    accept_seq  bigint NOT NULL,
    seq         integer NOT NULL CHECK (seq >= 1),
    timeline    text NOT NULL,
    traceparent text NOT NULL,
    created_at  timestamptz NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL,
    PRIMARY KEY (client, key),
    CHECK ((kind = 'place') = (seq = 1))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_next_at ON api.outbox (next_at);

-- How far the executor has come, per account: an older row that is still open is a straggler, not a stuck line.
CREATE TABLE api.line (
    account     text PRIMARY KEY,
    claimed_seq bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE api.order_event (
    order_id         uuid NOT NULL REFERENCES api.orders,
    timeline         text NOT NULL,
    version          bigint NOT NULL,
    status           text NOT NULL,
    final            boolean NOT NULL,
    reason_code      text,
    reason_detail    text,
    filled_quantity  control.amount NOT NULL,
    attempt          integer NOT NULL,
    cancel_requested boolean NOT NULL,
    at               timestamptz NOT NULL,
    PRIMARY KEY (order_id, timeline, version)
);

CREATE TABLE api.fill (
    venue          text NOT NULL,
    account        text NOT NULL,
    symbol         text NOT NULL,
    trade_id       text NOT NULL,
    venue_order_id text NOT NULL,
    side           text NOT NULL CHECK (side IN ('buy', 'sell')),
    order_id       uuid NOT NULL REFERENCES api.orders,
    quantity       control.amount NOT NULL CHECK (quantity > 0),
    price          control.amount NOT NULL,
    cost           control.amount NOT NULL,
    fees           jsonb NOT NULL,
    liquidity      text NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    traded_at      timestamptz NOT NULL,
    PRIMARY KEY (venue, account, symbol, trade_id, venue_order_id, side)
);
CREATE INDEX fill_order ON api.fill (order_id, traded_at);

GRANT USAGE ON SEQUENCE api.accept_seq TO order_api;
GRANT SELECT, INSERT, UPDATE ON api.orders, api.line TO order_api;
-- ON CONFLICT sets a fingerprint to itself, to lock the row; what was answered can never be changed.
GRANT SELECT, INSERT, UPDATE (fingerprint) ON api.idempotency_key TO order_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON api.outbox TO order_api;
GRANT SELECT, INSERT ON api.order_event, api.fill TO order_api;
