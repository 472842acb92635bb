-- depends: 0001_ledger
-- What 0001 proved row by row is proven by statement: the same rules, for all rows of a batch at once. Rows are never
-- changed nor removed (append_only), so that what is true when a row comes stays true: no foreign key has to watch the
-- other side. Look-ups stand as subqueries: a join may be planned, on tables that are still empty, as a scan of the whole.

-- The chain --------------------------------------------------------------------------------------

-- As in 0001, and a journal of a shard that nobody opened is refused here instead of by a foreign key.
CREATE OR REPLACE FUNCTION ledger.continue_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT linked.* INTO wrong
      FROM (SELECT n.shard, n.seq, n.prev_hash, n.xid,
                   coalesce(lag(n.seq) OVER chain, (SELECT h.seq FROM ledger.shard h WHERE h.shard = n.shard)) + 1 AS due_seq,
                   coalesce(lag(n.hash) OVER chain, (SELECT h.hash FROM ledger.shard h WHERE h.shard = n.shard)) AS due_hash
              FROM added n
            WINDOW chain AS (PARTITION BY n.shard ORDER BY n.seq)) AS linked
     WHERE (linked.seq = linked.due_seq AND linked.prev_hash::bytea = linked.due_hash::bytea
            AND linked.xid = pg_current_xact_id()) IS NOT TRUE
     ORDER BY linked.shard, linked.seq
     LIMIT 1;
    IF FOUND AND wrong.due_seq IS NULL THEN
        RAISE EXCEPTION 'a journal of the shard %, which is not opened', wrong.shard USING errcode = 'foreign_key_violation';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'chain broken at %/%: the next is %', wrong.shard, wrong.seq, wrong.due_seq
              USING errcode = 'check_violation';
    END IF;
    UPDATE ledger.shard h SET seq = last.seq, hash = last.hash
      FROM (SELECT DISTINCT ON (n.shard) n.shard, n.seq, n.hash FROM added n ORDER BY n.shard, n.seq DESC) AS last
     WHERE h.shard = last.shard;
    RETURN NULL;
END $$;
ALTER TABLE ledger.journal DROP CONSTRAINT journal_shard_fkey;

-- Two journals of one shard after the same one: each journal's number is one more than that of the journal whose hash it
-- names (continue_chain), so both would have one number, and the primary key holds one. The index that said so again was
-- the only one of the books whose keys come in no order.
ALTER TABLE ledger.journal DROP CONSTRAINT journal_shard_prev_hash_key;

-- One reversal at most, without an index row for each journal that reverses nothing. On a ledger of many millions make it
-- by hand first, CONCURRENTLY: this migration then finds it there and holds up no booking.
CREATE UNIQUE INDEX IF NOT EXISTS journal_reverses ON ledger.journal (reverses_shard, reverses_seq) WHERE reverses_seq IS NOT NULL;
ALTER TABLE ledger.journal DROP CONSTRAINT journal_reverses_shard_reverses_seq_key;

-- Entries ----------------------------------------------------------------------------------------

-- What a journal's hash is over, as in 0001: a JSON array of strings. `entries`: the arrays of its lines, joined by ", ".
CREATE FUNCTION ledger.preimage(j ledger.journal, entries text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT '["orderonce.journal.v1", "' || j.shard || '", "' || j.seq || '", "' || j.kind || '", '
           || to_json(j.source) || ', ' || to_json(j.source_key) || ', "' || encode(j.payload_hash, 'hex') || '", "'
           || trunc(extract(epoch FROM j.event_at) * 1000000)::bigint || '", "'
           || coalesce(j.reverses_shard || '-' || j.reverses_seq, '') || '", [' || entries || ']]'
$$;

-- All entries of a journal come in one statement of the transaction that made it: lines 1 to n_entries, each between two
-- accounts of its own asset, and the journal's hash is over just these. Whatever comes later finds its line taken or is
-- one too many, also after SET CONSTRAINTS ... IMMEDIATE. Names need no quotes: their CHECKs leave nothing to escape.
-- By (dr, cr, asset) first: a batch has many lines and few pairs, and each pair's names are looked up once.
CREATE FUNCTION ledger.take_entries() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
    of    ledger.journal;
BEGIN
    SELECT t.* INTO wrong
      FROM (SELECT l.shard, l.seq, count(*) AS found, count(p.names) AS named, max(l.line) AS last,
                   string_agg('["' || l.line || p.names || l.amount || '", "' || l.role || '"]', ', ' ORDER BY l.line) AS said
              FROM (SELECT g.*, '", "' || (SELECT d.path FROM ledger.account d WHERE d.account_id = g.dr AND d.asset_id = g.asset_id)
                           || '", "' || (SELECT c.path FROM ledger.account c WHERE c.account_id = g.cr AND c.asset_id = g.asset_id)
                           || '", "' || (SELECT a.code FROM ledger.asset a WHERE a.asset_id = g.asset_id) || '", "' AS names
                      FROM (SELECT n.dr, n.cr, n.asset_id, array_agg(n.shard) AS shards, array_agg(n.seq) AS seqs,
                                   array_agg(n.line) AS lines, array_agg(n.amount::numeric) AS amounts,
                                   array_agg(n.role) AS roles
                              FROM added n GROUP BY n.dr, n.cr, n.asset_id) AS g
                     OFFSET 0) AS p -- OFFSET 0: once per pair
             CROSS JOIN LATERAL unnest(p.shards, p.seqs, p.lines, p.amounts, p.roles)
                                AS l (shard, seq, line, amount, role)
             GROUP BY l.shard, l.seq) AS t
     WHERE (SELECT j.xid = pg_current_xact_id() AND t.found = j.n_entries AND t.last = j.n_entries AND t.named = j.n_entries
                   AND j.hash = sha256(j.prev_hash || convert_to(ledger.preimage(j, t.said), 'UTF8'))
              FROM ledger.journal j WHERE j.shard = t.shard AND j.seq = t.seq) IS NOT TRUE
     ORDER BY t.shard, t.seq
     LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT j.* INTO of FROM ledger.journal j WHERE j.shard = wrong.shard AND j.seq = wrong.seq;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'entries of the journal %/%, which does not exist', wrong.shard, wrong.seq
              USING errcode = 'foreign_key_violation';
    ELSIF of.xid <> pg_current_xact_id() THEN
        RAISE EXCEPTION 'the journal is sealed' USING errcode = 'restrict_violation';
    ELSIF wrong.named <> wrong.found THEN
        RAISE EXCEPTION 'an entry of journal %/% is not between two accounts of its asset', wrong.shard, wrong.seq
              USING errcode = 'foreign_key_violation';
    ELSIF wrong.found <> of.n_entries OR wrong.last <> of.n_entries THEN
        RAISE EXCEPTION 'journal %/% declared % entries and got % in one statement, the last of them line %',
              wrong.shard, wrong.seq, of.n_entries, wrong.found, wrong.last USING errcode = 'check_violation';
    END IF;
    RAISE EXCEPTION 'the hash of journal %/% is not that of its content', wrong.shard, wrong.seq
          USING errcode = 'check_violation';
END $$;
CREATE TRIGGER take_entries AFTER INSERT ON ledger.entry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.take_entries();
DROP TRIGGER stay_sealed ON ledger.entry;
DROP FUNCTION ledger.stay_sealed();
ALTER TABLE ledger.entry
    DROP CONSTRAINT entry_shard_seq_fkey,
    DROP CONSTRAINT entry_dr_asset_id_fkey,
    DROP CONSTRAINT entry_cr_asset_id_fkey;

-- Who wants an account's entries reads them by its shard: six index rows per fill were kept for nobody.
DROP INDEX ledger.entry_dr, ledger.entry_cr;

-- At commit, for each step that a shard's head made: every journal in between has its entries. They have just what they
-- declared (take_entries), so that a first line is enough. Numbers have no gaps: as many first lines as numbers.
CREATE FUNCTION ledger.close_journals() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF new.seq - old.seq <> (SELECT count(*) FROM ledger.entry e
                              WHERE e.shard = new.shard AND e.seq > old.seq AND e.seq <= new.seq AND e.line = 1) THEN
        RAISE EXCEPTION 'of the journals %/% to % one or more has 0 entries', new.shard, old.seq + 1, new.seq
              USING errcode = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER close_journals AFTER UPDATE ON ledger.shard DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger.close_journals();
DROP TRIGGER close_journal ON ledger.journal;
DROP FUNCTION ledger.close_journal();
DROP FUNCTION ledger.preimage(ledger.journal, jsonb);

-- Fills ------------------------------------------------------------------------------------------

-- A fill is said with its journal, of the shard's own account: one transaction, and nothing is said of a journal later.
CREATE FUNCTION ledger.take_fills() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM added n
                WHERE (SELECT j.xid FROM ledger.journal j WHERE j.shard = n.shard AND j.seq = n.seq AND j.kind = 'fill')
                      IS DISTINCT FROM pg_current_xact_id()
                   OR (SELECT h.account FROM ledger.shard h WHERE h.shard = n.shard) IS DISTINCT FROM n.account) THEN
        RAISE EXCEPTION 'a fill without a journal of this transaction in the books of its account'
              USING errcode = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER take_fills AFTER INSERT ON ledger.fill REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.take_fills();
ALTER TABLE ledger.fill DROP CONSTRAINT fill_shard_seq_fkey, DROP CONSTRAINT fill_account_fkey;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.genesis(integer, text), ledger.preimage(ledger.journal, text) TO ledger;
