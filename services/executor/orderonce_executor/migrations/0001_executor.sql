-- depends: 0001_control
-- The executor's own schema. The database states the invariants: unique keys, closed lists of states, amounts that are
-- finite and never negative, and that terms are known before anything can be sent.

CREATE SCHEMA executor;
GRANT USAGE ON SCHEMA executor TO executor;

-- One row per process that ever ran. It is alive while somebody holds the advisory lock (class 1953, lock_id): rule R8.
CREATE TABLE executor.process (
    process_id uuid PRIMARY KEY,
    lock_id    integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The history that this schema's rows belong to (one row). Another one under our feet means a fail-over or a restore: R13.
CREATE TABLE executor.timeline (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    timeline   text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The dedupe row and the life of one order. Unique by order id and by (client, key): a row that an insert returned is
-- ownership (R3). A cancel that comes first makes the row without terms (R10); such a row can only be CANCELED.
CREATE TABLE executor.placement (
    order_id         uuid PRIMARY KEY,
    client           text NOT NULL,
    key              text NOT NULL,
    account          text NOT NULL,
    venue            text NOT NULL,
    symbol           text NOT NULL,
    client_order_id  text NOT NULL,
    -- what the place command says; all null while only a cancel is known
    side             text CHECK (side IN ('buy', 'sell')),
    type             text CHECK (type IN ('market', 'limit')),
    quantity         control.amount CHECK (quantity > 0),
    price            control.amount CHECK (price > 0),
    time_in_force    text CHECK (time_in_force IN ('gtc', 'ioc', 'fok')),
    post_only        boolean,
    expires_at       timestamptz,
    payload_hash     text,
    key_id           text,
    accept_seq       bigint,
    seq              integer,
    traceparent      text NOT NULL,
    asked_timeline   text, -- of the acceptance, as the command says; null for producers of their own
    -- where it stands
    timeline         text NOT NULL,
    version          bigint NOT NULL CHECK (version > 0),
    state            text NOT NULL CHECK (state IN ('claimed', 'sending', 'unknown', 'open', 'filled', 'canceled',
                                                    'rejected', 'lapsed', 'denied', 'not_placed')),
    attempt          integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    signed_at_ms     bigint CHECK (signed_at_ms > 0), -- of the last attempt, on the venue's clock
    window_ms        integer CHECK (window_ms > 0),
    sent_at          timestamptz,
    cancel_requested boolean NOT NULL DEFAULT false,
    venue_order_id   text,
    filled_quantity  control.amount NOT NULL DEFAULT 0,
    filled_cost      control.amount NOT NULL DEFAULT 0,
    fees             jsonb NOT NULL DEFAULT '[]',
    reason_code      text,
    reason_detail    text,
    refusals         integer NOT NULL DEFAULT 0 CHECK (refusals >= 0),
    last_refusal     text,
    -- who looks after it, and when next
    owner            uuid NOT NULL,
    next_at          timestamptz NOT NULL,
    settled          boolean NOT NULL DEFAULT false, -- final, and no longer watched for late fills
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (client, key),
    UNIQUE (venue, account, client_order_id),
    CHECK (num_nulls(side, type, quantity, time_in_force, post_only, expires_at, payload_hash) IN (0, 7)),
    CHECK (side IS NOT NULL OR (state = 'canceled' AND cancel_requested AND attempt = 0)),
    CHECK (type IS DISTINCT FROM 'limit' OR price IS NOT NULL),
    CHECK (attempt > 0 OR state IN ('claimed', 'canceled', 'lapsed', 'denied')),
    CHECK (attempt = 0 OR num_nulls(signed_at_ms, window_ms, sent_at) = 0),
    CHECK (state NOT IN ('open', 'filled') OR venue_order_id IS NOT NULL),
    CHECK (NOT settled OR state IN ('filled', 'canceled', 'rejected', 'lapsed', 'denied', 'not_placed')),
    CHECK (state IN ('claimed', 'sending', 'open', 'filled') OR reason_code IS NOT NULL)
);
-- The only other index, and on a column that changes once: an order's way to SENDING is then a heap-only update.
CREATE INDEX placement_live ON executor.placement (owner, next_at) WHERE NOT settled;

-- Commands beside the place (cancels), once by (client, key). The place's own key is in its placement.
CREATE TABLE executor.command (
    client       text NOT NULL,
    key          text NOT NULL,
    kind         text NOT NULL CHECK (kind = 'cancel'),
    order_id     uuid NOT NULL,
    account      text NOT NULL,
    venue        text NOT NULL,
    payload_hash text NOT NULL,
    key_id       text,
    accept_seq   bigint,
    seq          integer NOT NULL,
    timeline     text,
    traceparent  text NOT NULL,
    claimed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (client, key)
);

-- One signed request each. `sent` is null until its sender has spoken: a null of a dead process means "perhaps".
-- `applied` false with a verdict: the word came when the row had moved on, and waits for the resolver (R6).
CREATE TABLE executor.attempt (
    order_id     uuid NOT NULL,
    attempt      integer NOT NULL CHECK (attempt > 0),
    signed_at_ms bigint NOT NULL CHECK (signed_at_ms > 0),
    window_ms    integer NOT NULL CHECK (window_ms > 0),
    process_id   uuid NOT NULL,
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent         boolean,
    verdict      text,
    word         jsonb, -- the verdict with the venue's own words
    heard_at     timestamptz,
    applied      boolean NOT NULL DEFAULT true,
    absence      jsonb, -- how absence was proven (R7), when it was
    PRIMARY KEY (order_id, attempt),
    CHECK ((verdict IS NULL) = (word IS NULL))
);
CREATE INDEX attempt_waiting ON executor.attempt (order_id) WHERE NOT applied;

-- Every trade of ours, once by its natural key; append-only.
CREATE TABLE executor.fill (
    venue          text NOT NULL,
    account        text NOT NULL,
    symbol         text NOT NULL,
    trade_id       text NOT NULL,
    venue_order_id text NOT NULL,
    side           text NOT NULL CHECK (side IN ('buy', 'sell')),
    order_id       uuid NOT NULL,
    quantity       control.amount NOT NULL CHECK (quantity > 0),
    price          control.amount NOT NULL CHECK (price > 0),
    cost           control.amount NOT NULL,
    fees           jsonb NOT NULL,
    liquidity      text NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    traded_at      timestamptz NOT NULL,
    raw            jsonb NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, account, symbol, trade_id, venue_order_id, side)
);
CREATE INDEX fill_order ON executor.fill (order_id);

-- Records that Kafka has not acknowledged yet; a row is deleted when it has.
CREATE TABLE executor.outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      uuid NOT NULL,
    topic      text NOT NULL,
    key        text NOT NULL,
    value      bytea NOT NULL,
    headers    jsonb NOT NULL, -- [[name, base64], ...]
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The consumer's place in the log, written in the claim's own transaction, so that it goes back with the claims (R13).
CREATE TABLE executor.position (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    timeline    text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition)
);

-- Venue's clock minus the database's, per account, as last measured.
CREATE TABLE executor.venue_clock (
    account       text PRIMARY KEY,
    venue         text NOT NULL,
    offset_ms     bigint NOT NULL,
    uncertain_ms  integer NOT NULL CHECK (uncertain_ms >= 0), -- half of the round trip
    measured_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT, INSERT, DELETE ON executor.process TO executor;
GRANT SELECT, INSERT ON executor.timeline, executor.command TO executor;
GRANT SELECT, INSERT, UPDATE ON executor.placement, executor.attempt, executor.position, executor.venue_clock TO executor;
GRANT SELECT, INSERT ON executor.fill TO executor;
GRANT SELECT, INSERT, UPDATE, DELETE ON executor.outbox TO executor;
