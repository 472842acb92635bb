-- name: add_records
-- Evidence first: a row that comes back is new, in words not heard before; sorted, so that two writers queue.
INSERT INTO ledger.venue_record (account, natural_key, payload_hash, origin, payload)
SELECT r.account, r.natural_key, r.payload_hash, $1, r.payload::jsonb
  FROM unnest($2::text[], $3::text[], $4::bytea[], $5::text[]) AS r (account, natural_key, payload_hash, payload)
 ORDER BY r.natural_key, r.payload_hash
ON CONFLICT (natural_key, origin, payload_hash) DO NOTHING
RETURNING record_id, natural_key, payload_hash;

-- name: lock_heads
-- One writer per shard: whoever holds this row may append to the account's chain. In one order, against deadlocks.
-- With it, up to which trade the opening balances reach, per symbol: never changed, and a symbol that is not there yet waits.
SELECT account, shard, venue, seq, hash,
       (SELECT coalesce(jsonb_object_agg(c.symbol, c.opening_trade_number), '{}') FROM ledger.statement_cursor c
         WHERE c.account = s.account) AS openings
  FROM ledger.shard s WHERE account = ANY($1::text[]) ORDER BY shard FOR NO KEY UPDATE;

-- name: booked_keys
-- Which of these trades are in the books, and in which words.
SELECT source_key, payload_hash FROM ledger.journal WHERE source = 'fill' AND source_key = ANY($1::text[]);

-- name: add_journals
-- Journals with their entries, and what is said of fills. Postgres checks links, entries and hashes when the statement
-- ends, and at commit that no journal stayed without entries.
WITH journals AS (
    INSERT INTO ledger.journal (shard, seq, kind, source, source_key, payload_hash, event_at, n_entries, prev_hash, hash)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::timestamptz[],
                         $8::smallint[], $9::bytea[], $10::bytea[])),
fills AS (
    INSERT INTO ledger.fill (shard, seq, account, venue, symbol, trade_id, venue_order_id, client_order_id, order_id, client,
                             side, quantity, price, cost, fees, liquidity, traded_at)
    SELECT f.shard, f.seq, f.account, f.venue, f.symbol, f.trade_id, f.venue_order_id, f.client_order_id, f.order_id,
           f.client, f.side, f.quantity, f.price, f.cost, f.fees::jsonb, f.liquidity, f.traded_at
      FROM unnest($19::integer[], $20::bigint[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[],
                  $26::text[], $27::uuid[], $28::text[], $29::text[], $30::numeric[], $31::numeric[], $32::numeric[],
                  $33::text[], $34::text[], $35::timestamptz[])
        AS f (shard, seq, account, venue, symbol, trade_id, venue_order_id, client_order_id, order_id, client, side,
              quantity, price, cost, fees, liquidity, traded_at))
INSERT INTO ledger.entry (shard, seq, line, asset_id, dr, cr, amount, role)
SELECT * FROM unnest($11::integer[], $12::bigint[], $13::smallint[], $14::integer[], $15::integer[], $16::integer[],
                     $17::numeric[], $18::text[]);

-- name: park
-- Fills of an account that is not opened yet wait here; nothing else waits for them.
INSERT INTO ledger.parked (record_id, account) SELECT * FROM unnest($1::bigint[], $2::text[]);

-- name: take_parked
-- In the order in which they were heard, under the chain's lock. What must wait on is put back by the same transaction.
DELETE FROM ledger.parked WHERE record_id IN (
    SELECT p.record_id FROM ledger.parked p WHERE p.account = $1 ORDER BY p.record_id LIMIT $2)
RETURNING record_id, (SELECT r.payload::text FROM ledger.venue_record r WHERE r.record_id = parked.record_id) AS payload;

-- name: parked_accounts
-- Which accounts have fills that wait, and of which symbols.
SELECT p.account, (SELECT r.payload ->> 'symbol' FROM ledger.venue_record r WHERE r.record_id = p.record_id) AS symbol,
       count(*) AS fills
  FROM ledger.parked p GROUP BY 1, 2;

-- name: add_assets
INSERT INTO ledger.asset (code) SELECT DISTINCT unnest($1::text[]) ORDER BY 1 ON CONFLICT (code) DO NOTHING;

-- name: add_accounts
INSERT INTO ledger.account (path, asset_id, class)
SELECT n.path, a.asset_id, n.class
  FROM unnest($1::text[], $2::text[], $3::text[]) AS n (path, code, class) JOIN ledger.asset a ON a.code = n.code
 ORDER BY n.path, n.code
ON CONFLICT (path, asset_id) DO NOTHING;

-- name: account_ids
SELECT c.path, a.code, c.account_id, c.asset_id
  FROM unnest($1::text[], $2::text[]) AS n (path, code)
  JOIN ledger.asset a ON a.code = n.code JOIN ledger.account c ON c.path = n.path AND c.asset_id = a.asset_id;

-- name: admitted
-- Accounts as the order API admitted them, and whether their books are open.
SELECT a.account, a.venue, a.venue_uid, s.shard, s.opened_at
  FROM control.account a LEFT JOIN ledger.shard s USING (account) ORDER BY a.account;

-- name: symbols
SELECT symbol FROM control.instrument WHERE venue = $1 ORDER BY symbol;

-- name: symbols_without_cursor
-- Instruments that came after an account's opening.
SELECT s.account, i.symbol FROM ledger.shard s JOIN control.instrument i ON i.venue = s.venue
  LEFT JOIN ledger.statement_cursor c ON c.account = s.account AND c.symbol = i.symbol
 WHERE c.symbol IS NULL;

-- name: add_shard
-- Opens an account's books; nothing comes back when another process has just done so.
INSERT INTO ledger.shard (account, venue, opened_at) VALUES ($1, $2, $3) ON CONFLICT (account) DO NOTHING
RETURNING account, shard, venue, seq, hash;

-- name: add_cursors
INSERT INTO ledger.statement_cursor (account, symbol, opening_trade_number, next_trade_number)
SELECT $1, c.symbol, c.opening, c.opening + 1 FROM unnest($2::text[], $3::bigint[]) AS c (symbol, opening)
ON CONFLICT (account, symbol) DO NOTHING;

-- name: add_snapshots
INSERT INTO ledger.balance_snapshot (account, run_id, asset, amount, taken_at)
SELECT $1, $2, s.asset, s.amount, $3 FROM unnest($4::text[], $5::numeric[]) AS s (asset, amount);

-- name: cursors
SELECT symbol, opening_trade_number, next_trade_number FROM ledger.statement_cursor WHERE account = $1 ORDER BY symbol;

-- name: move_cursors
UPDATE ledger.statement_cursor c SET next_trade_number = n.next, updated_at = clock_timestamp()
  FROM unnest($2::text[], $3::bigint[]) AS n (symbol, next)
 WHERE c.account = $1 AND c.symbol = n.symbol AND c.next_trade_number < n.next;

-- name: fills_in_window
-- The ledger's side of a comparison: per symbol from a trade on, and the trades of these keys wherever they are.
SELECT f.*, j.source_key, j.payload_hash
  FROM unnest($2::text[], $3::bigint[]) AS w (symbol, first)
 CROSS JOIN LATERAL (SELECT * FROM ledger.fill x -- OFFSET 0: symbol by symbol, by the index
                      WHERE x.account = $1 AND x.symbol = w.symbol AND x.trade_number >= w.first OFFSET 0) AS f
  JOIN ledger.journal j ON j.shard = f.shard AND j.seq = f.seq
UNION
SELECT f.*, j.source_key, j.payload_hash
  FROM ledger.journal j JOIN ledger.fill f ON f.shard = j.shard AND f.seq = j.seq
 WHERE j.source = 'fill' AND j.source_key = ANY($4::text[]);

-- name: balances
-- What the ledger says an account holds, by asset, from the balances that triggers keep.
SELECT a.code AS asset, b.dr - b.cr AS amount
  FROM ledger.account c JOIN ledger.asset a USING (asset_id) JOIN ledger.balance b USING (account_id)
 WHERE c.path = $1 ORDER BY a.code;

-- name: recomputed_balances
-- The same, summed up from every posting of the account's shard: the two must never differ.
WITH summed AS (
    SELECT p.account_id, sum(p.amount) AS amount FROM ledger.shard s JOIN ledger.posting p ON p.shard = s.shard
     WHERE s.account = $1 GROUP BY p.account_id)
SELECT c.path, a.code AS asset, coalesce(m.amount, 0) AS amount
  FROM ledger.account c JOIN ledger.asset a USING (asset_id) LEFT JOIN summed m USING (account_id)
 WHERE c.path LIKE '%:' || $1 || ':%' OR c.path LIKE '%:' || $1 ORDER BY 1, 2;

-- name: open_breaks
SELECT break_id, type, natural_key, symbol, effect, detail FROM ledger.break WHERE account = $1 AND status = 'open';

-- name: raise_breaks
-- Seen (again): new, reopened, changed, or only last_seen moves. A trigger writes the history.
INSERT INTO ledger.break (break_id, account, type, natural_key, status, symbol, effect, detail, run_id)
SELECT n.break_id, $1, n.type, n.natural_key, 'open', n.symbol, n.effect::jsonb, n.detail::jsonb, $2
  FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS n (break_id, type, natural_key, symbol, effect, detail)
 ORDER BY n.type, n.natural_key
ON CONFLICT (type, natural_key) DO UPDATE
   SET status = 'open', last_seen = clock_timestamp(), effect = excluded.effect, detail = excluded.detail,
       run_id = excluded.run_id;

-- name: resolve_breaks
-- Gone: the break resolves by itself, and the run that no longer saw it is the evidence.
UPDATE ledger.break b SET status = 'auto_resolved', run_id = $1,
       detail = b.detail || jsonb_build_object('resolved', n.why)
  FROM unnest($2::uuid[], $3::text[]) AS n (break_id, why) WHERE b.break_id = n.break_id AND b.status = 'open';

-- name: add_run
INSERT INTO ledger.recon_run (run_id, account, status, reason, full_history, asked_by, started_at, statement_at,
                              venue_trades, ledger_trades, matched, breaks)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: statement_records
-- The evidence rows of these statement trades, new or old.
SELECT record_id, natural_key, payload_hash FROM ledger.venue_record
 WHERE origin = 'statement' AND natural_key = ANY($1::text[]);

-- name: statement_words
-- All words of the statement about these trades: more than one hash under a key means that the venue changed its mind.
SELECT natural_key, count(*) AS versions FROM ledger.venue_record
 WHERE origin = 'statement' AND natural_key = ANY($1::text[]) GROUP BY natural_key HAVING count(*) > 1;

-- name: add_matches
-- Exclusive on both sides by the table's keys; a pair that is matched already stays as it was.
INSERT INTO ledger.recon_match (record_id, shard, seq, run_id, account)
SELECT m.record_id, m.shard, m.seq, $1, $2 FROM unnest($3::bigint[], $4::integer[], $5::bigint[]) AS m (record_id, shard, seq)
ON CONFLICT DO NOTHING;

-- name: add_proof
INSERT INTO ledger.proof (run_id, account, asset, venue_balance, ledger_balance, explained, in_flight)
SELECT $1, $2, p.* FROM unnest($3::text[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[])
    AS p (asset, venue_balance, ledger_balance, explained, in_flight);

-- name: list_accounts
-- Each admitted account with its books, its last run and its last good one.
SELECT a.account, a.venue, s.shard, s.seq, encode(s.hash, 'hex') AS hash, s.opened_at,
       (SELECT count(*) FROM ledger.parked p WHERE p.account = a.account) AS parked,
       (SELECT count(*) FROM ledger.break b WHERE b.account = a.account AND b.status = 'open') AS open_breaks,
       l.run_id AS last_run_id, l.status AS last_run_status, l.reason AS last_run_reason, l.finished_at AS last_run_at,
       (SELECT max(r.statement_at) FROM ledger.recon_run r WHERE r.account = a.account AND r.status = 'ok') AS proven_at
  FROM control.account a
  LEFT JOIN ledger.shard s USING (account)
  LEFT JOIN LATERAL (SELECT r.* FROM ledger.recon_run r WHERE r.account = a.account
                      ORDER BY r.finished_at DESC LIMIT 1) AS l ON true
 ORDER BY a.account;

-- name: account_balances
-- Every ledger account of one account at its venue, with the time of its last booking.
SELECT c.path, c.class, a.code AS asset, b.dr - b.cr AS balance, b.dr AS debits, b.cr AS credits
  FROM ledger.shard s
  JOIN ledger.account c ON split_part(c.path, ':', 2) = s.venue AND split_part(c.path, ':', 3) = s.account
  JOIN ledger.asset a USING (asset_id) JOIN ledger.balance b USING (account_id)
 WHERE s.account = $1 ORDER BY c.path, a.code;

-- name: last_booked
SELECT s.shard, s.seq, s.venue, j.recorded_at FROM ledger.shard s LEFT JOIN ledger.journal j ON j.shard = s.shard AND j.seq = s.seq
 WHERE s.account = $1;

-- name: list_fills
-- Account by account, newest first; the cursor is the place in the chain where the last page ended.
SELECT f.*, j.recorded_at, encode(j.hash, 'hex') AS hash
  FROM ledger.fill f JOIN ledger.journal j ON j.shard = f.shard AND j.seq = f.seq
 WHERE ($1::text[] IS NULL OR f.account = ANY($1::text[])) AND ($2::uuid IS NULL OR f.order_id = $2)
   AND ($3::integer IS NULL OR f.shard > $3 OR (f.shard = $3 AND f.seq < $4::bigint))
 ORDER BY f.shard, f.seq DESC LIMIT $5;

-- name: show_journal
SELECT j.shard, j.seq, j.kind, j.source, j.source_key, encode(j.payload_hash, 'hex') AS payload_hash, j.event_at,
       j.recorded_at, encode(j.prev_hash, 'hex') AS prev_hash, encode(j.hash, 'hex') AS hash, s.account, s.venue
  FROM ledger.journal j JOIN ledger.shard s USING (shard) WHERE j.shard = $1 AND j.seq = $2;

-- name: show_entries
SELECT e.line, d.path AS debit, c.path AS credit, a.code AS asset, e.amount::numeric AS amount, e.role
  FROM ledger.entry e JOIN ledger.account d ON d.account_id = e.dr JOIN ledger.account c ON c.account_id = e.cr
  JOIN ledger.asset a ON a.asset_id = e.asset_id
 WHERE e.shard = $1 AND e.seq = $2 ORDER BY e.line;

-- name: show_fill
SELECT f.* FROM ledger.fill f WHERE f.shard = $1 AND f.seq = $2;

-- name: last_proof
-- The newest proof of each account; a run that failed since then changes nothing here, only the age.
SELECT p.account, p.asset, p.venue_balance, p.ledger_balance, p.explained, p.in_flight, p.proof, r.run_id, r.statement_at,
       r.finished_at
  FROM (SELECT DISTINCT ON (r.account) r.* FROM ledger.recon_run r
         WHERE r.status = 'ok' AND ($1::text[] IS NULL OR r.account = ANY($1::text[]))
         ORDER BY r.account, r.finished_at DESC) AS r
  JOIN ledger.proof p ON p.run_id = r.run_id AND p.account = r.account
 ORDER BY p.account, p.asset;

-- name: last_runs
-- The newest run of each account, whatever came of it.
SELECT DISTINCT ON (r.account) r.account, r.run_id, r.status, r.reason, r.finished_at, r.statement_at
  FROM ledger.recon_run r WHERE $1::text[] IS NULL OR r.account = ANY($1::text[])
 ORDER BY r.account, r.finished_at DESC;

-- name: list_breaks
-- Newest first by id (its first part is the time it was first seen).
SELECT b.break_id, b.account, b.type, b.natural_key, b.status, b.first_seen, b.last_seen, b.symbol, b.effect, b.detail
  FROM ledger.break b
 WHERE ($1::text[] IS NULL OR b.account = ANY($1::text[])) AND ($2::text IS NULL OR b.status = $2)
   AND ($3::text IS NULL OR b.type = $3) AND ($4::uuid IS NULL OR b.break_id < $4)
 ORDER BY b.break_id DESC LIMIT $5;

-- name: break_events
SELECT e.break_id, e.step, e.at, e.actor, e.run_id, e.detail FROM ledger.break_event e
 WHERE e.break_id = ANY($1::uuid[]) ORDER BY e.break_id, e.event_id;

-- name: show_run
SELECT r.* FROM ledger.recon_run r WHERE r.run_id = $1 ORDER BY r.account;

-- name: run_proof
SELECT p.account, p.asset, p.venue_balance, p.ledger_balance, p.explained, p.in_flight, p.proof
  FROM ledger.proof p WHERE p.run_id = $1 ORDER BY p.account, p.asset;

-- name: vital_signs
-- What the metrics show: open breaks by type, parked fills, proofs that are not zero, the age of the last good run.
SELECT (SELECT count(*) FROM ledger.parked) AS parked,
       (SELECT coalesce(jsonb_object_agg(t.type, t.n), '{}') FROM (
            SELECT type, count(*) AS n FROM ledger.break WHERE status = 'open' GROUP BY type) AS t) AS breaks,
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(first_seen)), 0)::float8
          FROM ledger.break WHERE status = 'open') AS oldest_break_s,
       (SELECT count(*) FROM (SELECT DISTINCT ON (r.account) r.run_id, r.account FROM ledger.recon_run r
                               WHERE r.status = 'ok' ORDER BY r.account, r.finished_at DESC) AS r
          JOIN ledger.proof p ON p.run_id = r.run_id AND p.account = r.account AND p.proof <> 0) AS nonzero,
       (SELECT extract(epoch FROM clock_timestamp() - min(l.at))::float8 FROM (
            SELECT s.account, coalesce(max(r.finished_at), s.opened_at) AS at FROM ledger.shard s
              LEFT JOIN ledger.recon_run r ON r.account = s.account AND r.status = 'ok'
             GROUP BY s.account, s.opened_at) AS l) AS oldest_run_s;
