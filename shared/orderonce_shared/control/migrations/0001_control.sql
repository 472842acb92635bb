-- Roles, schemas and the one schema that services share. Written by the order API (instruments: by the executor).
-- Readers may lock rows and change nothing: FOR SHARE needs a right to update, so they get one on `lock_only`,
-- a column whose CHECK admits a single value.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['order_api', 'executor', 'ledger'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA control;
GRANT USAGE ON SCHEMA control TO order_api, executor, ledger;

-- An amount of money: above zero or zero, finite. NaN and Infinity pass a bare "> 0", hence the upper bound.
CREATE DOMAIN control.amount AS numeric CHECK (value >= 0 AND value < 1e40);
GRANT USAGE ON TYPE control.amount TO order_api, executor, ledger;

CREATE TABLE control.api_key (
    kid            text PRIMARY KEY CHECK (kid ~ '^[0-9A-Za-z]{12}$'),
    client         text NOT NULL CHECK (client ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    env            text NOT NULL CHECK (env = 'test'),
    secret_mac     bytea NOT NULL CHECK (octet_length(secret_mac) = 32),
    pepper_id      smallint NOT NULL,
    scopes         text[] NOT NULL CHECK (scopes <@ ARRAY['orders:read', 'orders:write', 'orders:cancel', 'ledger:read', 'admin']),
    accounts       text[] NOT NULL, -- ['*'] means every account
    max_quantity   control.amount,  -- per order, in the base asset; null is no cap
    max_notional   control.amount,  -- per order, in the quote asset; null is no cap
    orders_per_second integer CHECK (orders_per_second > 0),
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz,
    revoked_at     timestamptz,
    revoked_reason text,
    lock_only      boolean NOT NULL DEFAULT true CHECK (lock_only),
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE INDEX api_key_client ON control.api_key (client);

CREATE TABLE control.account (
    account     text PRIMARY KEY CHECK (account ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
    venue       text NOT NULL,
    venue_uid   text NOT NULL,
    halted      boolean NOT NULL DEFAULT false,
    halt_reason text,
    halted_at   timestamptz,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lock_only   boolean NOT NULL DEFAULT true CHECK (lock_only),
    UNIQUE (venue, venue_uid), -- one real account is admitted once (R11)
    CHECK (halted = (halted_at IS NOT NULL))
);

CREATE TABLE control.instrument (
    venue           text NOT NULL,
    symbol          text NOT NULL,
    base            text NOT NULL,
    quote           text NOT NULL,
    tick_size       control.amount NOT NULL CHECK (tick_size > 0),
    step_size       control.amount NOT NULL CHECK (step_size > 0),
    min_quantity    control.amount NOT NULL,
    max_quantity    control.amount NOT NULL,
    min_notional    control.amount NOT NULL,
    reference_price control.amount,
    reference_at    timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, symbol),
    CHECK ((reference_price IS NULL) = (reference_at IS NULL))
);

GRANT SELECT, INSERT, UPDATE ON control.api_key, control.account TO order_api;
GRANT SELECT ON control.instrument TO order_api;
GRANT SELECT ON control.account TO executor, ledger;
GRANT SELECT ON control.api_key TO ledger; -- it asks bearers for their keys itself
GRANT SELECT (kid, status, expires_at, lock_only) ON control.api_key TO executor; -- no MACs
GRANT UPDATE (lock_only) ON control.api_key, control.account TO executor, ledger;
GRANT SELECT, INSERT, UPDATE ON control.instrument TO executor;
GRANT SELECT ON control.instrument TO ledger;

-- Which history this database is on: a promotion starts a new WAL timeline, a new cluster has a new identifier.
-- The WAL file name is asked for and not pg_control_checkpoint(), which still names the old timeline after a promotion.
CREATE FUNCTION control.timeline() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT system_identifier::text || ':' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
      FROM pg_control_system()
$$;
REVOKE ALL ON FUNCTION control.timeline() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.timeline() TO order_api, executor, ledger;
