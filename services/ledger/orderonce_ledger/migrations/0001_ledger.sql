-- depends: 0001_control
-- The books. Postgres itself refuses whatever would make them untrue: see the comment on each rule.
-- Nothing here trusts the program that writes: the role `ledger` may add, and can take nothing back.

CREATE SCHEMA ledger;
GRANT USAGE ON SCHEMA ledger TO ledger;

-- NaN and Infinity pass a bare "> 0" and make every later sum agree with every other: bounded on both sides.
CREATE DOMAIN ledger.signed AS numeric CHECK (value > -1e60 AND value < 1e60);
CREATE DOMAIN ledger.positive AS numeric CHECK (value > 0 AND value < 1e40 AND scale(value) <= 40);
CREATE DOMAIN ledger.digest AS bytea CHECK (octet_length(value) = 32);
CREATE DOMAIN ledger.name AS text CHECK (value ~ '^[a-z0-9][a-z0-9_.-]{0,62}$');
GRANT USAGE ON TYPE ledger.signed, ledger.positive, ledger.digest, ledger.name TO ledger;

-- The directory ----------------------------------------------------------------------------------

-- One shard per account: its journals are one chain, written by one writer at a time, who holds this row's lock.
-- seq and hash are the chain's head; only the chain's own trigger moves them. The row exists once the account is opened.
CREATE TABLE ledger.shard (
    account   ledger.name PRIMARY KEY,
    shard     integer NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    venue     text NOT NULL,
    seq       bigint NOT NULL DEFAULT 0,
    hash      ledger.digest NOT NULL,
    opened_at timestamptz NOT NULL, -- the venue's clock when the opening balances were read
    lock_only boolean NOT NULL DEFAULT true CHECK (lock_only)
);

CREATE TABLE ledger.asset (
    asset_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code     text NOT NULL UNIQUE CHECK (code ~ '^[A-Z0-9]{1,20}$')
);

-- class: asset, liability, equity (clearing and opening), income, expense. Paths: docs of the ledger, section 3.
CREATE TABLE ledger.account (
    account_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path       text NOT NULL CHECK (path ~ '^[a-z_]+(:[a-z0-9][a-z0-9_.-]*)+$'),
    asset_id   integer NOT NULL REFERENCES ledger.asset,
    class      text NOT NULL CHECK (class IN ('A', 'L', 'E', 'I', 'X')),
    floor      ledger.signed, -- null: may go negative. We record what a venue did; we do not approve it
    UNIQUE (path, asset_id),
    UNIQUE (account_id, asset_id)
);

-- The books --------------------------------------------------------------------------------------

CREATE TABLE ledger.journal (
    shard          integer NOT NULL REFERENCES ledger.shard (shard),
    seq            bigint NOT NULL CHECK (seq >= 1),
    kind           text NOT NULL CHECK (kind IN ('opening', 'fill', 'reversal')),
    source         text NOT NULL,
    source_key     text NOT NULL,
    payload_hash   ledger.digest NOT NULL,
    event_at       timestamptz NOT NULL CHECK (isfinite(event_at)),
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    reverses_shard integer,
    reverses_seq   bigint,
    n_entries      smallint NOT NULL CHECK (n_entries BETWEEN 1 AND 64),
    prev_hash      ledger.digest NOT NULL,
    hash           ledger.digest NOT NULL,
    xid            xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (shard, seq),
    UNIQUE (source, source_key),           -- exactly once
    UNIQUE (shard, prev_hash),             -- no fork
    UNIQUE (reverses_shard, reverses_seq), -- one reversal at most
    FOREIGN KEY (reverses_shard, reverses_seq) REFERENCES ledger.journal (shard, seq),
    CHECK ((kind = 'reversal') = (reverses_seq IS NOT NULL)),
    CHECK ((reverses_shard IS NULL) = (reverses_seq IS NULL))
);

-- One row moves one amount of one asset from `cr` to `dr`: an unbalanced asset cannot be written down at all.
CREATE TABLE ledger.entry (
    shard    integer NOT NULL,
    seq      bigint NOT NULL,
    line     smallint NOT NULL CHECK (line >= 1),
    asset_id integer NOT NULL,
    dr       integer NOT NULL,
    cr       integer NOT NULL,
    amount   ledger.positive NOT NULL,
    role     text NOT NULL CHECK (role IN ('base', 'quote', 'fee', 'rebate', 'opening')),
    PRIMARY KEY (shard, seq, line),
    CHECK (dr <> cr),
    FOREIGN KEY (shard, seq) REFERENCES ledger.journal (shard, seq),
    FOREIGN KEY (dr, asset_id) REFERENCES ledger.account (account_id, asset_id),
    FOREIGN KEY (cr, asset_id) REFERENCES ledger.account (account_id, asset_id)
);
CREATE INDEX entry_dr ON ledger.entry (dr);
CREATE INDEX entry_cr ON ledger.entry (cr);

CREATE VIEW ledger.posting AS
    SELECT shard, seq, line, asset_id, dr AS account_id, amount::numeric AS amount, role FROM ledger.entry
    UNION ALL
    SELECT shard, seq, line, asset_id, cr, -amount, role FROM ledger.entry;

-- Kept by triggers alone: a row comes with its account, and moves with each entry.
CREATE TABLE ledger.balance (
    account_id integer PRIMARY KEY REFERENCES ledger.account,
    asset_id   integer NOT NULL,
    dr         numeric NOT NULL DEFAULT 0 CHECK (dr >= 0 AND dr < 1e60),
    cr         numeric NOT NULL DEFAULT 0 CHECK (cr >= 0 AND cr < 1e60),
    floor      ledger.signed,
    CHECK (floor IS NULL OR dr - cr >= floor),
    FOREIGN KEY (account_id, asset_id) REFERENCES ledger.account (account_id, asset_id)
);

-- What a fill journal is about, for people and for the match with the venue's statement.
CREATE TABLE ledger.fill (
    shard           integer NOT NULL,
    seq             bigint NOT NULL,
    account         ledger.name NOT NULL REFERENCES ledger.shard (account),
    venue           text NOT NULL,
    symbol          text NOT NULL,
    base            text NOT NULL GENERATED ALWAYS AS (split_part(symbol, '/', 1)) STORED,
    quote           text NOT NULL GENERATED ALWAYS AS (split_part(symbol, '/', 2)) STORED,
    trade_id        text NOT NULL,
    trade_number    bigint GENERATED ALWAYS AS (CASE WHEN trade_id ~ '^[0-9]{1,18}$' THEN trade_id::bigint END) STORED,
    venue_order_id  text NOT NULL,
    client_order_id text NOT NULL,
    order_id        uuid NOT NULL,
    client          text NOT NULL,
    side            text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity        ledger.positive NOT NULL,
    price           ledger.positive NOT NULL,
    cost            ledger.signed NOT NULL CHECK (cost >= 0),
    fees            jsonb NOT NULL CHECK (jsonb_typeof(fees) = 'array'),
    liquidity       text NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    traded_at       timestamptz NOT NULL,
    PRIMARY KEY (shard, seq),
    FOREIGN KEY (shard, seq) REFERENCES ledger.journal (shard, seq)
);
CREATE INDEX fill_trade ON ledger.fill (account, symbol, trade_number);
CREATE INDEX fill_order ON ledger.fill (order_id);

-- Evidence ---------------------------------------------------------------------------------------

-- Every word about a trade, as received: from the executor (fill) or from the venue's own statement. The same trade in
-- other words (another hash under one key) is kept beside the first.
CREATE TABLE ledger.venue_record (
    record_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      ledger.name NOT NULL,
    natural_key  text NOT NULL,
    payload_hash ledger.digest NOT NULL,
    origin       text NOT NULL CHECK (origin IN ('fill', 'statement')),
    payload      jsonb NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (natural_key, origin, payload_hash)
);

-- Fills that wait for their account's opening: evidence not yet judged.
CREATE TABLE ledger.parked (
    record_id bigint PRIMARY KEY REFERENCES ledger.venue_record,
    account   ledger.name NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX parked_account ON ledger.parked (account, record_id);

-- Where the books begin and where the next reading of the statement starts, per symbol. Trades up to
-- opening_trade_number are inside the opening balances and are never booked.
CREATE TABLE ledger.statement_cursor (
    account              ledger.name NOT NULL REFERENCES ledger.shard (account),
    symbol               text NOT NULL,
    opening_trade_number bigint NOT NULL CHECK (opening_trade_number >= 0),
    next_trade_number    bigint NOT NULL,
    updated_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account, symbol),
    CHECK (next_trade_number > opening_trade_number)
);

-- Reconciliation ---------------------------------------------------------------------------------

-- One row per account and run, written when the run ends; a run whose process died left nothing and changed nothing.
CREATE TABLE ledger.recon_run (
    run_id         uuid NOT NULL,
    account        ledger.name NOT NULL,
    status         text NOT NULL CHECK (status IN ('ok', 'not_quiet', 'failed')),
    reason         text,
    full_history   boolean NOT NULL,
    asked_by       text NOT NULL,
    started_at     timestamptz NOT NULL,
    finished_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    statement_at   timestamptz,          -- the venue's clock when the statement was read
    venue_trades   integer NOT NULL DEFAULT 0,
    ledger_trades  integer NOT NULL DEFAULT 0,
    matched        integer NOT NULL DEFAULT 0,
    breaks         integer NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, account),
    CHECK ((status = 'ok') = (reason IS NULL)),
    CHECK (status = 'failed' OR statement_at IS NOT NULL)
);
CREATE INDEX recon_run_account ON ledger.recon_run (account, finished_at DESC);

-- What the venue said it holds: at the opening (run_id is null) and at each run whose statement was quiet.
CREATE TABLE ledger.balance_snapshot (
    snapshot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     ledger.name NOT NULL,
    run_id      uuid,
    asset       text NOT NULL,
    amount      ledger.signed NOT NULL,
    taken_at    timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (account, run_id, asset),
    FOREIGN KEY (run_id, account) REFERENCES ledger.recon_run (run_id, account)
);

-- Postgres does the subtraction. in_flight and explained are sums over records, never over a bare difference.
CREATE TABLE ledger.proof (
    run_id         uuid NOT NULL,
    account        ledger.name NOT NULL,
    asset          text NOT NULL,
    venue_balance  ledger.signed NOT NULL,
    ledger_balance ledger.signed NOT NULL,
    explained      ledger.signed NOT NULL,
    in_flight      ledger.signed NOT NULL,
    proof          numeric NOT NULL GENERATED ALWAYS AS (venue_balance - ledger_balance - explained - in_flight) STORED,
    PRIMARY KEY (run_id, account, asset),
    FOREIGN KEY (run_id, account) REFERENCES ledger.recon_run (run_id, account)
);

-- Exclusive on both sides: no venue record explains two journals, no journal is explained twice.
CREATE TABLE ledger.recon_match (
    record_id bigint NOT NULL UNIQUE REFERENCES ledger.venue_record,
    shard     integer NOT NULL,
    seq       bigint NOT NULL,
    run_id    uuid NOT NULL,
    account   ledger.name NOT NULL,
    PRIMARY KEY (shard, seq),
    FOREIGN KEY (shard, seq) REFERENCES ledger.journal (shard, seq),
    FOREIGN KEY (run_id, account) REFERENCES ledger.recon_run (run_id, account)
);

-- A difference with a name. Identity is (type, natural key): seen again it is the same break, gone it resolves by itself,
-- back it reopens. `effect` is what it moves, venue minus ledger, by asset; empty where no record backs it.
CREATE TABLE ledger.break (
    break_id    uuid PRIMARY KEY,
    account     ledger.name NOT NULL,
    type        text NOT NULL CHECK (type IN ('MISSING_IN_LEDGER', 'MISSING_AT_VENUE', 'QTY', 'PRICE', 'FEE_AMOUNT',
                                              'FEE_ASSET', 'DUPLICATE_AT_VENUE', 'BALANCE', 'AMENDED')),
    natural_key text NOT NULL,
    status      text NOT NULL CHECK (status IN ('open', 'auto_resolved')),
    first_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    symbol      text,
    effect      jsonb NOT NULL CHECK (jsonb_typeof(effect) = 'object'),
    detail      jsonb NOT NULL CHECK (jsonb_typeof(detail) = 'object'),
    run_id      uuid, -- the run that wrote this state last; null: the booking of a fill
    UNIQUE (type, natural_key),
    CHECK (type NOT IN ('BALANCE', 'AMENDED', 'DUPLICATE_AT_VENUE') OR effect = '{}')
);
CREATE INDEX break_open ON ledger.break (account) WHERE status = 'open';
CREATE INDEX break_page ON ledger.break (account, break_id);

-- Written by a trigger with each step of a break, never by a program.
CREATE TABLE ledger.break_event (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    break_id uuid NOT NULL REFERENCES ledger.break,
    step     text NOT NULL CHECK (step IN ('opened', 'changed', 'auto_resolved', 'reopened')),
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor    text NOT NULL,
    run_id   uuid,
    effect   jsonb NOT NULL,
    detail   jsonb NOT NULL
);
CREATE INDEX break_event_break ON ledger.break_event (break_id, event_id);

-- Append-only, for the owner too ------------------------------------------------------------------

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'append-only: % on %', tg_op, tg_table_name USING errcode = 'restrict_violation';
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['asset', 'account', 'journal', 'entry', 'fill', 'venue_record', 'recon_run',
                                'balance_snapshot', 'proof', 'recon_match', 'break_event'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.%I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    END LOOP;
    -- Moved by triggers only: depth 0 is a statement of somebody's own.
    FOREACH name IN ARRAY ARRAY['balance', 'shard'] LOOP
        EXECUTE format('CREATE TRIGGER not_by_hand BEFORE UPDATE ON ledger.%I FOR EACH STATEMENT'
                       ' WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger.refuse_change()', name);
        EXECUTE format('CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON ledger.%I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['break', 'statement_cursor'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON ledger.%I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    END LOOP;
END $$;

CREATE TRIGGER not_added_by_hand BEFORE INSERT ON ledger.balance FOR EACH STATEMENT
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER not_added_by_hand BEFORE INSERT ON ledger.break_event FOR EACH STATEMENT
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger.refuse_change();

-- The chain --------------------------------------------------------------------------------------

-- A shard's first previous hash: the account is part of it, so that two books never share a chain.
CREATE FUNCTION ledger.genesis(shard integer, account text) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(convert_to(jsonb_build_array('orderonce.ledger.v1', shard::text, account)::text, 'UTF8'))
$$;

CREATE FUNCTION ledger.begin_chain() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    new.seq := 0;
    new.hash := ledger.genesis(new.shard, new.account);
    RETURN new;
END $$;
CREATE TRIGGER begin_chain BEFORE INSERT ON ledger.shard FOR EACH ROW EXECUTE FUNCTION ledger.begin_chain();

-- Each journal continues its shard's head: no gap, no fork; then the head moves. Two writers of one shard meet in the
-- primary key, so the second fails whatever it read.
CREATE FUNCTION ledger.continue_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT linked.* INTO wrong
      FROM (SELECT n.shard, n.seq, n.prev_hash, n.xid,
                   coalesce(lag(n.seq) OVER chain, h.seq) + 1 AS due_seq,
                   coalesce(lag(n.hash) OVER chain, h.hash) AS due_hash
              FROM added n JOIN ledger.shard h ON h.shard = n.shard
            WINDOW chain AS (PARTITION BY n.shard ORDER BY n.seq)) AS linked
     WHERE linked.seq <> linked.due_seq OR linked.prev_hash::bytea <> linked.due_hash::bytea
        OR linked.xid <> pg_current_xact_id()
     ORDER BY linked.shard, linked.seq
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'chain broken at %/%: the next is %', wrong.shard, wrong.seq, wrong.due_seq
              USING errcode = 'check_violation';
    END IF;
    UPDATE ledger.shard h SET seq = last.seq, hash = last.hash
      FROM (SELECT DISTINCT ON (n.shard) n.shard, n.seq, n.hash FROM added n ORDER BY n.shard, n.seq DESC) AS last
     WHERE h.shard = last.shard;
    RETURN NULL;
END $$;
CREATE TRIGGER continue_chain AFTER INSERT ON ledger.journal REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.continue_chain();

-- Entries join a journal only in the transaction that made it: sealed at commit.
CREATE FUNCTION ledger.stay_sealed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added n JOIN ledger.journal j ON j.shard = n.shard AND j.seq = n.seq
                WHERE j.xid <> pg_current_xact_id()) THEN
        RAISE EXCEPTION 'the journal is sealed' USING errcode = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER stay_sealed AFTER INSERT ON ledger.entry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.stay_sealed();

-- What a journal's hash is over: a JSON array of strings, in which no separator can be ambiguous. Names instead of ids,
-- amounts with the scale they are stored with, time in microseconds: whoever has an export can compute it again.
CREATE FUNCTION ledger.preimage(j ledger.journal, entries jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_array('orderonce.journal.v1', j.shard::text, j.seq::text, j.kind, j.source, j.source_key,
                             encode(j.payload_hash, 'hex'),
                             trunc(extract(epoch FROM j.event_at) * 1000000)::bigint::text,
                             coalesce(j.reverses_shard || '-' || j.reverses_seq, ''), entries)::text
$$;

-- At commit, when the entries are there: as many as declared, none missing, and the hash is what it claims to be.
CREATE FUNCTION ledger.close_journal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found   bigint;
    last    smallint;
    entries jsonb;
BEGIN
    SELECT count(*), max(e.line),
           jsonb_agg(jsonb_build_array(e.line::text, d.path, c.path, a.code, e.amount::text, e.role) ORDER BY e.line)
      INTO found, last, entries
      FROM ledger.entry e
      JOIN ledger.account d ON d.account_id = e.dr
      JOIN ledger.account c ON c.account_id = e.cr
      JOIN ledger.asset a ON a.asset_id = e.asset_id
     WHERE e.shard = new.shard AND e.seq = new.seq;
    IF found <> new.n_entries OR last IS DISTINCT FROM new.n_entries THEN
        RAISE EXCEPTION 'journal %/% has % entries, declared %', new.shard, new.seq, found, new.n_entries
              USING errcode = 'check_violation';
    END IF;
    IF new.hash <> sha256(new.prev_hash || convert_to(ledger.preimage(new, entries), 'UTF8')) THEN
        RAISE EXCEPTION 'the hash of journal %/% is not that of its content', new.shard, new.seq
              USING errcode = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER close_journal AFTER INSERT ON ledger.journal DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger.close_journal();

-- Balances ---------------------------------------------------------------------------------------

CREATE FUNCTION ledger.open_balance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO ledger.balance (account_id, asset_id, floor) VALUES (new.account_id, new.asset_id, new.floor);
    RETURN NULL;
END $$;
CREATE TRIGGER open_balance AFTER INSERT ON ledger.account FOR EACH ROW EXECUTE FUNCTION ledger.open_balance();

-- Rows are locked in one order first: two writers that touch the same accounts queue instead of deadlocking.
CREATE FUNCTION ledger.move_balances() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM ledger.balance b
      WHERE b.account_id IN (SELECT n.dr FROM added n UNION SELECT n.cr FROM added n)
      ORDER BY b.account_id FOR NO KEY UPDATE;
    UPDATE ledger.balance b SET dr = b.dr + moved.dr, cr = b.cr + moved.cr
      FROM (SELECT leg.account_id, sum(leg.dr) AS dr, sum(leg.cr) AS cr
              FROM (SELECT n.dr AS account_id, n.amount::numeric AS dr, 0::numeric AS cr FROM added n
                    UNION ALL SELECT n.cr, 0, n.amount FROM added n) AS leg
             GROUP BY leg.account_id) AS moved
     WHERE b.account_id = moved.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER move_balances AFTER INSERT ON ledger.entry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.move_balances();

-- Breaks -----------------------------------------------------------------------------------------

CREATE FUNCTION ledger.note_break() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken text;
BEGIN
    IF tg_op = 'INSERT' THEN
        taken := 'opened';
    ELSIF (new.break_id, new.type, new.natural_key, new.account, new.first_seen)
          IS DISTINCT FROM (old.break_id, old.type, old.natural_key, old.account, old.first_seen) THEN
        RAISE EXCEPTION 'a break keeps its identity' USING errcode = 'restrict_violation';
    ELSIF new.status <> old.status THEN
        taken := CASE new.status WHEN 'open' THEN 'reopened' ELSE 'auto_resolved' END;
    ELSIF new.effect <> old.effect OR new.detail <> old.detail THEN
        taken := 'changed';
    ELSE
        RETURN NULL; -- seen again as it was: last_seen says so
    END IF;
    INSERT INTO ledger.break_event (break_id, step, actor, run_id, effect, detail)
    VALUES (new.break_id, taken, session_user, new.run_id, new.effect, new.detail);
    RETURN NULL;
END $$;
CREATE TRIGGER note_break AFTER INSERT OR UPDATE ON ledger.break FOR EACH ROW EXECUTE FUNCTION ledger.note_break();

-- Rights of the service: read all, add, and change only what is not evidence ------------------------

GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ledger;
GRANT INSERT (account, venue, opened_at) ON ledger.shard TO ledger;
GRANT UPDATE (lock_only) ON ledger.shard TO ledger;
GRANT INSERT (code) ON ledger.asset TO ledger;
GRANT INSERT (path, asset_id, class) ON ledger.account TO ledger;
GRANT INSERT (shard, seq, kind, source, source_key, payload_hash, event_at, reverses_shard, reverses_seq, n_entries,
              prev_hash, hash) ON ledger.journal TO ledger;
GRANT INSERT ON ledger.entry, ledger.fill TO ledger;
GRANT INSERT (account, natural_key, payload_hash, origin, payload) ON ledger.venue_record TO ledger;
GRANT INSERT (record_id, account), DELETE ON ledger.parked TO ledger;
GRANT INSERT, UPDATE (next_trade_number, updated_at) ON ledger.statement_cursor TO ledger;
GRANT INSERT ON ledger.recon_run, ledger.balance_snapshot, ledger.recon_match TO ledger;
GRANT INSERT (run_id, account, asset, venue_balance, ledger_balance, explained, in_flight) ON ledger.proof TO ledger;
GRANT INSERT, UPDATE (status, last_seen, effect, detail, symbol, run_id) ON ledger.break TO ledger;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.genesis(integer, text), ledger.preimage(ledger.journal, jsonb) TO ledger;
