-- name: look_up
-- Existing keys and everything that decides about a new one, in one round trip: nothing here is cached, so a halt or a
-- revocation that has returned shows. LATERAL keeps it a handful of index probes whatever the planner believes.
SELECT k.command_id, k.order_id, k.kind, k.fingerprint, k.fingerprint_version, k.canonical, k.status, k.body,
       k.created_at, clock_timestamp() AS now,
       a.venue, a.halted, p.lives AS key_lives,
       n.symbol, n.base, n.quote, n.tick_size, n.step_size, n.min_quantity, n.max_quantity, n.min_notional, n.quote_step,
       n.reference_price, n.reference_at,
       EXISTS (SELECT FROM control.instrument l WHERE l.venue = a.venue) AS venue_loaded
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
       WITH ORDINALITY AS i (client, key, account, symbol, kid, position)
  LEFT JOIN LATERAL (SELECT * FROM api.idempotency_key x WHERE x.client = i.client AND x.key = i.key OFFSET 0) k ON true
  LEFT JOIN LATERAL (SELECT * FROM control.account x WHERE x.account = i.account OFFSET 0) a ON true
  LEFT JOIN LATERAL (SELECT * FROM control.instrument x WHERE x.venue = a.venue AND x.symbol = i.symbol OFFSET 0) n ON true
  LEFT JOIN LATERAL (SELECT x.status = 'active' AND (x.expires_at IS NULL OR x.expires_at > clock_timestamp()) AS lives
                       FROM control.api_key x WHERE x.kid = i.kid OFFSET 0) p ON true
 ORDER BY i.position;

-- name: look_up_cancels
-- The same for cancels: existing keys, the order (of this client only), and whether the asking key lives.
SELECT k.command_id, k.order_id, k.kind, k.fingerprint, k.fingerprint_version, k.canonical, k.status, k.body,
       k.created_at, clock_timestamp() AS now, p.lives AS key_lives,
       o.account, o.venue, o.symbol, o.key AS place_key
  FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[])
       WITH ORDINALITY AS i (client, key, order_id, kid, position)
  LEFT JOIN LATERAL (SELECT * FROM api.idempotency_key x WHERE x.client = i.client AND x.key = i.key OFFSET 0) k ON true
  LEFT JOIN LATERAL (SELECT * FROM api.orders x WHERE x.order_id = i.order_id AND x.client = i.client OFFSET 0) o ON true
  LEFT JOIN LATERAL (SELECT x.status = 'active' AND (x.expires_at IS NULL OR x.expires_at > clock_timestamp()) AS lives
                       FROM control.api_key x WHERE x.kid = i.kid OFFSET 0) p ON true
 ORDER BY i.position;

-- name: accept
-- R1. Keys first, sorted, so that two batches cannot deadlock; DO UPDATE makes a twin wait and then see the first
-- one's row (DO NOTHING would give it neither). Only rows with the offered command_id are ours: orders and outbox
-- are written for these alone. The account's row is locked FOR SHARE before nextval.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[], $5::text[], $6::smallint[], $7::bytea[],
                         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::numeric[],
                         $15::numeric[], $16::text[], $17::boolean[], $18::text[], $19::text[], $20::text[],
                         $21::text[], $22::timestamptz[], $23::text[], $24::text[], $25::text[], $26::numeric[])
           WITH ORDINALITY AS a (client, key, command_id, fingerprint, canonical, http_status, body,
                key_id, account, venue, symbol, side, type, quantity,
                price, time_in_force, post_only, client_tag, client_order_id, payload_hash,
                traceparent, deadline, denial_code, denial_detail, schema, quote_quantity, position)
), kept AS (
    INSERT INTO api.idempotency_key AS k
           (client, key, command_id, order_id, kind, fingerprint, fingerprint_version, canonical, status, body, created_at)
    SELECT client, key, command_id, command_id, 'place', fingerprint, $27::smallint, canonical, http_status, body,
           $28::timestamptz
      FROM asked ORDER BY client, key
        ON CONFLICT (client, key) DO UPDATE SET fingerprint = k.fingerprint
    RETURNING k.*
), locked AS MATERIALIZED (
    SELECT c.account FROM control.account c WHERE c.account IN (SELECT account FROM asked) ORDER BY c.account FOR SHARE
), won AS MATERIALIZED (
    SELECT a.*, nextval('api.accept_seq') AS accept_seq, (SELECT control.timeline()) AS timeline
      FROM (SELECT asked.* FROM asked
              JOIN kept USING (client, key, command_id)
              JOIN locked ON locked.account = asked.account
             ORDER BY asked.position) a
), ordered AS (
    INSERT INTO api.orders
           (order_id, client, key, key_id, account, venue, symbol, side, type, quantity, quote_quantity, price,
            time_in_force, post_only, client_tag, client_order_id, schema, payload_hash, traceparent, accept_seq, timeline,
            accepted_at, deadline, status, final, reason_code, reason_detail, updated_at)
    SELECT command_id, client, key, key_id, account, venue, symbol, side, type, quantity, quote_quantity, price,
           time_in_force, post_only, client_tag, client_order_id, schema, payload_hash, traceparent, accept_seq, timeline,
           $28, deadline, CASE WHEN denial_code IS NULL THEN 'accepted' ELSE 'denied' END, denial_code IS NOT NULL,
           denial_code, denial_detail, $28
      FROM won
), boxed AS (
    INSERT INTO api.outbox
           (client, key, order_id, kind, account, key_id, accept_seq, seq, timeline, traceparent, created_at, next_at)
    SELECT client, key, command_id, 'place', account, key_id, accept_seq, 1, timeline, traceparent, $28,
           clock_timestamp() + interval '1 second'
      FROM won WHERE denial_code IS NULL
)
SELECT kept.client, kept.key, kept.command_id, kept.order_id, kept.kind, kept.fingerprint, kept.fingerprint_version,
       kept.canonical, kept.status, kept.body, kept.created_at, won.accept_seq, won.timeline
  FROM kept LEFT JOIN won USING (client, key, command_id);

-- name: accept_cancels
-- The same for cancels: `seq` is drawn from the order's own row under its lock, several at once for one order. A
-- denied order was never sent anywhere: its cancel is answered and goes nowhere.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[], $5::text[], $6::smallint[], $7::bytea[],
                         $8::text[], $9::text[], $10::uuid[], $11::text[])
           WITH ORDINALITY AS a (client, key, command_id, fingerprint, canonical, http_status, body,
                key_id, account, order_id, traceparent, position)
), kept AS (
    INSERT INTO api.idempotency_key AS k
           (client, key, command_id, order_id, kind, fingerprint, fingerprint_version, canonical, status, body, created_at)
    SELECT client, key, command_id, order_id, 'cancel', fingerprint, $12::smallint, canonical, http_status, body,
           $13::timestamptz
      FROM asked ORDER BY client, key
        ON CONFLICT (client, key) DO UPDATE SET fingerprint = k.fingerprint
    RETURNING k.*
), fresh AS MATERIALIZED (
    SELECT a.*, row_number() OVER (PARTITION BY a.order_id ORDER BY a.position) AS nth
      FROM asked a JOIN kept USING (client, key, command_id)
), locked AS MATERIALIZED (
    SELECT o.order_id FROM api.orders o WHERE o.order_id IN (SELECT order_id FROM fresh) ORDER BY o.order_id FOR UPDATE
), shared AS MATERIALIZED (
    SELECT c.account FROM control.account c WHERE c.account IN (SELECT account FROM fresh) ORDER BY c.account FOR SHARE
), numbered AS (
    UPDATE api.orders o SET next_seq = o.next_seq + f.count, cancel_requested = o.cancel_requested OR NOT o.final
      FROM (SELECT order_id, count(*)::integer AS count FROM fresh JOIN locked USING (order_id)
              JOIN shared USING (account) GROUP BY order_id) f
     WHERE o.order_id = f.order_id
    RETURNING o.order_id, o.next_seq - f.count AS first_seq, o.status = 'denied' AND o.version = 0 AS never_sent
), won AS MATERIALIZED (
    SELECT f.*, n.never_sent, (n.first_seq + f.nth - 1)::integer AS seq, nextval('api.accept_seq') AS accept_seq,
           (SELECT control.timeline()) AS timeline
      FROM (SELECT * FROM fresh ORDER BY position) f JOIN numbered n USING (order_id)
), boxed AS (
    INSERT INTO api.outbox
           (client, key, order_id, kind, account, key_id, accept_seq, seq, timeline, traceparent, created_at, next_at)
    SELECT client, key, order_id, 'cancel', account, key_id, accept_seq, seq, timeline, traceparent, $13,
           clock_timestamp() + interval '1 second'
      FROM won WHERE NOT never_sent
)
SELECT kept.client, kept.key, kept.command_id, kept.order_id, kept.kind, kept.fingerprint, kept.fingerprint_version,
       kept.canonical, kept.status, kept.body, kept.created_at, won.accept_seq, won.seq, won.timeline, won.never_sent
  FROM kept LEFT JOIN won USING (client, key, command_id);

-- name: take_due
-- R2, the sweeper: rows whose pause is over, whoever accepted them, and their next pause (2, 4, 8, … seconds). A row
-- that another sweeper holds is skipped; a sweeper that dies after this leaves the row to the next one.
WITH due AS MATERIALIZED (
    SELECT client, key FROM api.outbox WHERE next_at <= clock_timestamp()
     ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE api.outbox b
   SET attempts = b.attempts + 1,
       next_at = clock_timestamp() + make_interval(secs => least($2::float8, 2.0 ^ least(b.attempts + 1, 20)))
  FROM due d, api.orders o
 WHERE b.client = d.client AND b.key = d.key AND o.order_id = b.order_id
RETURNING b.client, b.key, b.order_id, b.kind, b.account, b.key_id, b.accept_seq, b.seq, b.timeline, b.traceparent,
          CASE b.kind WHEN 'place' THEN o.accepted_at ELSE b.created_at END AS created_at, o.key AS place_key, o.venue, o.symbol, o.side, o.type, o.quantity, o.quote_quantity, o.price,
          o.time_in_force, o.post_only, o.client_tag, o.deadline, o.version;

-- name: ask_again
-- R2, heard of too long ago: an order that is not final, whose claim has come back and of which nothing was said for $1
-- seconds, goes back into the outbox. The executor knows it and says its present state again, which heals an event that
-- Kafka lost. The pause doubles (asked_at - updated_at is the last one) up to $2. One process at a time does it. The rows
-- are locked in the order of their ids, as follow_events does: sorted after the LIMIT, which reads only the live orders.
WITH quiet AS MATERIALIZED (
    SELECT o.order_id FROM api.orders o
     WHERE (SELECT pg_try_advisory_xact_lock(hashtext('api.ask_again'))) AND NOT o.final
       AND clock_timestamp() > greatest(o.updated_at, o.asked_at)
                               + least(greatest(o.asked_at - o.updated_at, make_interval(secs => $1::float8)),
                                       make_interval(secs => $2::float8))
       AND NOT EXISTS (SELECT FROM api.outbox b WHERE b.client = o.client AND b.key = o.key)
     LIMIT $3
), locked AS MATERIALIZED (
    SELECT o.order_id FROM api.orders o WHERE o.order_id IN (SELECT order_id FROM quiet) ORDER BY o.order_id
       FOR NO KEY UPDATE
), asked AS (
    UPDATE api.orders o SET asked_at = clock_timestamp() FROM locked l WHERE o.order_id = l.order_id AND NOT o.final
    RETURNING o.*
)
INSERT INTO api.outbox
       (client, key, order_id, kind, account, key_id, accept_seq, seq, timeline, traceparent, created_at, next_at)
SELECT client, key, order_id, 'place', account, key_id, accept_seq, 1, timeline, traceparent, clock_timestamp(),
       clock_timestamp() -- its age is how long this question is unanswered, not the order's
  FROM asked
    ON CONFLICT (client, key) DO NOTHING
RETURNING order_id;

-- name: retry_soon
-- The broker took none of these: they are due again in a second, since nothing has been said to the executor yet.
UPDATE api.outbox b SET attempts = greatest(b.attempts - 1, 0), next_at = clock_timestamp() + interval '1 second'
  FROM unnest($1::text[], $2::text[]) AS r (client, key)
 WHERE b.client = r.client AND b.key = r.key;

-- name: resting_letters
-- F14: of these records, those that lie in the dead letters and were not replayed: the sweeper repeats none of them.
SELECT letter_id FROM api.dead_letter WHERE letter_id = ANY ($1::uuid[]) AND state <> 'replayed';

-- name: measure_line
-- Per account: the oldest place that the executor has not claimed although it has claimed nothing newer. One that lies
-- in the dead letters is refused, not late: it must not close its account to all others. But $2 that wait there and none
-- claimed since are executors that refuse everything. A letter counts on our commands' topic ($1) and with the command's
-- key among its headers, which are compared as text: a stranger's may hold what JSON functions refuse.
SELECT account, oldest
  FROM (SELECT account, CASE WHEN count(*) FILTER (WHERE waits) >= $2::integer THEN min(created_at)
                             ELSE min(created_at) FILTER (WHERE waits IS NULL) END AS oldest
          FROM (SELECT b.account, b.created_at,
                       (SELECT bool_or(d.state <> 'discarded') FROM api.dead_letter d
                         WHERE d.order_id = b.order_id AND d.client = b.client AND d.state <> 'replayed'
                           AND d.topic = $1::text
                           AND strpos(d.headers::text, '["key","' || replace(encode(convert_to(b.key, 'UTF8'), 'base64'),
                                                                             chr(10), '') || '"]') > 0) AS waits
                  FROM api.outbox b LEFT JOIN api.line l USING (account)
                 WHERE b.kind = 'place' AND b.accept_seq > coalesce(l.claimed_seq, 0)
                OFFSET 0) unclaimed -- once a row, not once for each time that it is named above
         GROUP BY account) accounts
 WHERE oldest IS NOT NULL;

-- name: measure_outbox
-- For the metrics: how much is unclaimed, and since when. What waits in the dead letters has a metric of its own, what
-- was discarded there has none, and an order that the executor has spoken of does not rest, whatever lies there. Asked row
-- by row, by the order's id: a join reads all letters for each row as long as nobody has analyzed them.
SELECT count(*) AS unclaimed, extract(epoch FROM clock_timestamp() - min(b.created_at))::float8 AS oldest_s
  FROM api.outbox b
 WHERE (SELECT bool_or(d.state <> 'discarded') FROM api.dead_letter d
         WHERE d.order_id = b.order_id AND d.client = b.client AND d.state <> 'replayed' AND d.topic = $1::text
           AND strpos(d.headers::text, '["key","' || replace(encode(convert_to(b.key, 'UTF8'), 'base64'), chr(10), '')
                                       || '"]') > 0) IS NOT TRUE
    OR (b.kind = 'place' AND (SELECT o.version FROM api.orders o WHERE o.order_id = b.order_id) > 0);

-- name: follow_events
-- Snapshots of the executor, many at once: only a higher (timeline, version) changes an order, every one is kept as
-- history, and commands that are claimed leave the outbox. An order is what its (client, key) is: where it has another
-- id here than the executor says (a second record of the same pair, F25), it is found by the key. No row is locked
-- first: UPDATE looks again at a row that another process has changed meanwhile, and takes them in the order of ids.
WITH told AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::boolean[], $7::text[],
                         $8::text[], $9::text[], $10::numeric[], $11::numeric[], $12::text[], $13::integer[],
                         $14::boolean[], $15::timestamptz[], $16::timestamptz[], $17::uuid[])
           AS t (client, key, timeline, version, status, final, reason_code, reason_detail, venue_order_id,
                 filled_quantity, filled_cost, fees, attempt, cancel_requested, sent_at, at, told_id)
), known AS MATERIALIZED (
    SELECT o.order_id, t.*
      FROM told t
      JOIN api.orders o ON o.order_id = coalesce(
               (SELECT x.order_id FROM api.orders x WHERE x.order_id = t.told_id AND x.client = t.client AND x.key = t.key),
               (SELECT k.command_id FROM api.idempotency_key k WHERE k.client = t.client AND k.key = t.key))
     WHERE NOT (o.status = 'denied' AND o.version = 0) -- denied at acceptance: never sent, nothing to be heard
), newest AS MATERIALIZED (
    SELECT DISTINCT ON (order_id) * FROM known ORDER BY order_id, timeline COLLATE "C" DESC, version DESC
), applied AS (
    UPDATE api.orders o
       SET event_timeline = n.timeline, version = n.version, status = n.status, final = n.final,
           reason_code = n.reason_code, reason_detail = n.reason_detail, venue_order_id = n.venue_order_id,
           filled_quantity = n.filled_quantity, filled_cost = n.filled_cost, fees = n.fees::jsonb,
           cancel_requested = o.cancel_requested OR n.cancel_requested, sent_at = n.sent_at, updated_at = n.at
      FROM newest n
     WHERE o.order_id = n.order_id
       AND (n.timeline COLLATE "C", n.version) > (o.event_timeline COLLATE "C", o.version)
    RETURNING o.order_id
), history AS (
    INSERT INTO api.order_event
           (order_id, timeline, version, status, final, reason_code, reason_detail, filled_quantity, attempt,
            cancel_requested, at)
    SELECT DISTINCT ON (order_id, timeline, version)
           order_id, timeline, version, status, final, reason_code, reason_detail, filled_quantity, attempt,
           cancel_requested, at
      FROM known ORDER BY order_id, timeline, version
        ON CONFLICT DO NOTHING
    RETURNING order_id
), done AS (
    DELETE FROM api.outbox b USING (SELECT DISTINCT * FROM unnest($18::text[], $19::text[]) AS u (client, key)) c
     WHERE b.client = c.client AND b.key = c.key
    RETURNING b.account, b.accept_seq
), moved AS (
    INSERT INTO api.line AS l (account, claimed_seq)
    SELECT account, max(accept_seq) FROM done GROUP BY account ORDER BY account
        ON CONFLICT (account) DO UPDATE SET claimed_seq = greatest(l.claimed_seq, excluded.claimed_seq)
)
SELECT (SELECT count(*) FROM told) AS told, (SELECT count(*) FROM known) AS known,
       (SELECT count(*) FROM applied) AS applied, (SELECT count(*) FROM history) AS fresh,
       (SELECT count(*) FROM done) AS claimed;

-- name: follow_fills
-- Venue trades of orders we know, once each by their natural key.
INSERT INTO api.fill
       (venue, account, symbol, trade_id, venue_order_id, side, order_id, quantity, price, cost, fees, liquidity, traded_at)
SELECT f.venue, f.account, f.symbol, f.trade_id, f.venue_order_id, f.side, f.order_id, f.quantity, f.price, f.cost,
       f.fees::jsonb, f.liquidity, f.traded_at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::numeric[],
              $9::numeric[], $10::numeric[], $11::text[], $12::text[], $13::timestamptz[], $14::text[])
       AS f (venue, account, symbol, trade_id, venue_order_id, side, order_id, quantity, price, cost, fees, liquidity,
             traded_at, client)
  JOIN api.orders o ON o.order_id = f.order_id AND o.client = f.client
 ORDER BY f.venue, f.account, f.symbol, f.trade_id
    ON CONFLICT DO NOTHING
RETURNING order_id;

-- name: order_by_id
-- One order of this client.
SELECT * FROM api.shown_order WHERE order_id = $1 AND client = $2;

-- name: order_by_key
-- The order that a key made.
SELECT s.* FROM api.idempotency_key k JOIN api.shown_order s ON s.order_id = k.command_id
 WHERE k.client = $1 AND k.key = $2;

-- name: plan_anew
-- For the transaction: a plan for the values at hand, so that nothing is left of a filter that is not asked for, and by
-- an index: for a page of a filter that fits little the planner would rather read the whole table.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true);

-- name: list_orders
-- Newest first below the cursor; accept_seq is unique, so that equal times cannot make a page skip or repeat. One upper
-- bound, since of two the scan would begin at the first and not at the lower. $9 names the index that holds every order
-- of the statuses asked for, where one does.
SELECT * FROM api.shown_order
 WHERE client = $1 AND (accepted_at, accept_seq) < ($2, $3) AND accepted_at >= $4
   AND ($5::text IS NULL OR account = $5) AND ($6::text[] IS NULL OR account = ANY ($6))
   AND ($7::text IS NULL OR symbol = $7) AND ($8::text[] IS NULL OR status = ANY ($8))
   AND ($9::text IS DISTINCT FROM 'live' OR NOT final)
   AND ($9 IS DISTINCT FROM 'filled' OR (final AND reason_code IS NULL))
   AND ($9 IS DISTINCT FROM 'canceled' OR (final AND reason_code IN ('canceled-by-client', 'canceled-at-venue',
                                                                    'venue-expired', 'venue-rejected')))
   AND ($9 IS DISTINCT FROM 'failed' OR (final AND reason_code NOT IN ('canceled-by-client', 'canceled-at-venue',
                                                                      'venue-expired')))
 ORDER BY accepted_at DESC, accept_seq DESC LIMIT $10;

-- name: settled_orders
-- Of orders that somebody waits for: the final ones, and the open ones where that is an answer.
SELECT s.* FROM unnest($1::uuid[], $2::boolean[]) AS w (order_id, open_counts)
  JOIN api.shown_order s USING (order_id)
 WHERE s.final OR (w.open_counts AND s.status = 'open');

-- name: write_counts
-- Absolute numbers of this process's own rows: writing them again changes nothing.
INSERT INTO api.idempotency_count AS c
       (client, minute, process_id, first_accepts, denials, replays, conflicts, expired)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::bigint[])
    ON CONFLICT (client, minute, process_id) DO UPDATE
   SET first_accepts = greatest(c.first_accepts, excluded.first_accepts),
       denials = greatest(c.denials, excluded.denials), replays = greatest(c.replays, excluded.replays),
       conflicts = greatest(c.conflicts, excluded.conflicts), expired = greatest(c.expired, excluded.expired);

-- name: write_conflicts
-- Keys that were used for another request.
INSERT INTO api.idempotency_conflict (client, conflict_id, at, key, order_id, differs, key_id)
SELECT client, conflict_id, at, key, order_id, string_to_array(differs, ','), key_id
  FROM unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::text[], $5::uuid[], $6::text[], $7::text[])
    AS a (client, conflict_id, at, key, order_id, differs, key_id)
    ON CONFLICT DO NOTHING;

-- name: forget_conflicts
-- All but the newest of each of these clients.
DELETE FROM api.idempotency_conflict c USING unnest($1::text[]) AS a (client)
 WHERE c.client = a.client
   AND c.conflict_id < (SELECT n.conflict_id FROM api.idempotency_conflict n WHERE n.client = a.client
                         ORDER BY n.conflict_id DESC OFFSET greatest($2::integer - 1, 0) LIMIT 1);

-- name: forget_counts
-- What is too old for anybody's question.
DELETE FROM api.idempotency_count WHERE minute < $1;

-- name: counts_since
-- One client's numbers, all processes together.
SELECT coalesce(sum(first_accepts), 0)::bigint AS first_accepts, coalesce(sum(denials), 0)::bigint AS denials,
       coalesce(sum(replays), 0)::bigint AS replays, coalesce(sum(conflicts), 0)::bigint AS conflicts,
       coalesce(sum(expired), 0)::bigint AS expired
  FROM api.idempotency_count WHERE client = $1 AND minute >= $2;

-- name: conflicts_since
-- The last conflicts, newest first, on accounts that the caller sees.
SELECT c.* FROM api.idempotency_conflict c JOIN api.orders o ON o.order_id = c.order_id
 WHERE c.client = $1 AND c.at >= $2 AND ($3::text[] IS NULL OR o.account = ANY ($3))
 ORDER BY c.conflict_id DESC LIMIT $4;

-- name: order_events
-- The history of one order, oldest first.
SELECT * FROM api.order_event WHERE order_id = $1 ORDER BY timeline COLLATE "C", version LIMIT $2;

-- name: order_fills
-- The venue trades of one order, oldest first.
SELECT * FROM api.fill WHERE order_id = $1 ORDER BY traded_at, trade_id LIMIT $2;

-- name: accounts
-- Accounts by name; null means all.
SELECT * FROM control.account WHERE $1::text[] IS NULL OR account = ANY ($1) ORDER BY account;

-- name: instruments
-- What the executor knows of a venue's symbols.
SELECT * FROM control.instrument WHERE venue = $1 ORDER BY symbol;

-- name: database_time
-- The clock that acceptance goes by.
SELECT clock_timestamp();

-- name: lock_keys
-- Before a revocation, as R4 says for halts: waits for every CAS that has read a key and holds up the next ones, so that
-- after the reply nothing asked for by this key leaves. A bare FOR UPDATE would starve behind the shared locks.
LOCK TABLE control.api_key IN EXCLUSIVE MODE;

-- name: lock_accounts
-- The same before a halt or a resume.
LOCK TABLE control.account IN EXCLUSIVE MODE;

-- name: create_key
-- A new API key; the secret is not here, only its MAC.
INSERT INTO control.api_key
       (kid, client, name, env, secret_mac, pepper_id, scopes, accounts, max_quantity, max_notional, orders_per_second,
        expires_at)
VALUES ($1, $2, $3, 'test', $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING *;

-- name: list_keys
-- All keys, oldest first.
SELECT * FROM control.api_key ORDER BY created_at, kid;

-- name: other_admin_keys
-- Living admin keys besides this one: the last one must not be revoked.
SELECT count(*) FROM control.api_key
 WHERE kid <> $1 AND 'admin' = ANY (scopes) AND status = 'active'
   AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: find_key
-- One key.
SELECT * FROM control.api_key WHERE kid = $1;

-- name: revoke_key
-- Once: a second revocation keeps the first one's time and reason.
UPDATE control.api_key SET status = 'revoked', revoked_at = clock_timestamp(), revoked_reason = $2
 WHERE kid = $1 AND status = 'active'
RETURNING *;

-- name: admit_account
-- One real account is admitted once: unique by name and by (venue, venue_uid).
INSERT INTO control.account (account, venue, venue_uid) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING
RETURNING *;

-- name: halt_account
-- Halted again: the first halt's time and reason stay.
UPDATE control.account
   SET halted = true, halt_reason = CASE WHEN halted THEN halt_reason ELSE $2 END,
       halted_at = coalesce(halted_at, clock_timestamp())
 WHERE account = $1
RETURNING *;

-- name: resume_account
-- Orders that are still claimed go out if their deadline allows.
UPDATE control.account SET halted = false, halt_reason = NULL, halted_at = NULL WHERE account = $1
RETURNING *;

-- name: on_the_wire
-- Orders of an account whose request may be at the venue already, as far as events have told.
SELECT order_id FROM api.orders
 WHERE account = $1 AND NOT final AND status IN ('sending', 'unknown')
 ORDER BY accept_seq LIMIT 1000;

-- name: keep_letters
-- The same record again (published anew and refused anew) is the same letter; the same letter again changes nothing.
-- One that had been replayed waits again. A lower offset than the newest letter's is an old letter that is read again, or
-- orders.dlq was made anew: then only a later place, or a later time, is another refusal.
INSERT INTO api.dead_letter AS d
       (letter_id, topic, partition, record_offset, dlq_offset, record_key, value, headers, error, order_id, client,
        first_seen, last_seen, times)
SELECT letter_id, topic, partition, record_offset, dlq_offset, record_key, value, headers::json, error, order_id, client,
       first_seen, last_seen, times
  FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[], $8::text[],
              $9::text[], $10::uuid[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::integer[])
    AS a (letter_id, topic, partition, record_offset, dlq_offset, record_key, value, headers, error, order_id, client,
          first_seen, last_seen, times)
    ON CONFLICT (letter_id) DO UPDATE
   SET partition = excluded.partition, record_offset = excluded.record_offset, dlq_offset = excluded.dlq_offset,
       error = excluded.error, last_seen = excluded.last_seen, times = d.times + excluded.times,
       state = CASE WHEN d.state = 'replayed' THEN 'waiting' ELSE d.state END
 WHERE (excluded.partition, excluded.record_offset) IS DISTINCT FROM (d.partition, d.record_offset)
   AND (excluded.dlq_offset > d.dlq_offset OR excluded.first_seen > d.last_seen
        OR (excluded.partition = d.partition AND excluded.record_offset > d.record_offset));

-- name: list_letters
-- Newest first, without values: only how long each is, and how it begins.
SELECT letter_id, topic, partition, record_offset, error, order_id, client, first_seen, last_seen, times, state, replays,
       changed_at, changed_by, reason, octet_length(value) AS bytes, substring(value FROM 1 FOR $6) AS preview
  FROM api.dead_letter
 WHERE (first_seen, letter_id) < ($1, $2) AND (NOT $3::boolean OR state IN ('waiting', 'replaying'))
   AND ($4::text IS NULL OR state = $4) AND ($5::text IS NULL OR topic = $5)
 ORDER BY first_seen DESC, letter_id DESC LIMIT $7;

-- name: letter
-- One letter, its value as far as it is shown.
SELECT letter_id, topic, partition, record_offset, record_key, headers, error, order_id, client, first_seen, last_seen,
       times, state, replays, changed_at, changed_by, reason, octet_length(value) AS bytes,
       substring(value FROM 1 FOR $2) AS preview
  FROM api.dead_letter WHERE letter_id = $1;

-- name: count_letters
-- For the metrics: what waits for a person.
SELECT count(*) AS count FROM api.dead_letter WHERE state IN ('waiting', 'replaying');

-- name: forget_letters
-- What a person has dealt with, when it is older than $1 and did not come again since. A discarded letter whose order
-- is still in the outbox stays: it is what keeps the sweeper from sending the record again.
DELETE FROM api.dead_letter WHERE letter_id IN (
    SELECT d.letter_id FROM api.dead_letter d
     WHERE d.state IN ('replayed', 'discarded') AND greatest(d.changed_at, d.last_seen) < $1
       AND NOT EXISTS (SELECT FROM api.outbox b WHERE b.order_id = d.order_id AND b.client = d.client)
     LIMIT $2 FOR UPDATE OF d SKIP LOCKED)
RETURNING letter_id;

-- name: begin_replay
-- One call has it, until it has said how it went or is taken to be dead. A person may change his mind about a discard.
UPDATE api.dead_letter SET state = 'replaying', changed_at = clock_timestamp(), changed_by = $2, reason = NULL
 WHERE letter_id = $1
   AND (state IN ('waiting', 'discarded')
        OR (state = 'replaying' AND changed_at < clock_timestamp() - make_interval(secs => $3::float8)))
RETURNING *;

-- name: end_replay
-- A letter that has come back meanwhile (its `times` have grown) waits again.
UPDATE api.dead_letter
   SET state = CASE WHEN $3 AND times = $2 THEN 'replayed' ELSE 'waiting' END, replays = replays + $3::boolean::integer,
       changed_at = clock_timestamp()
 WHERE letter_id = $1 AND state = 'replaying'
RETURNING letter_id;

-- name: discard_letter
-- Once: a second discard keeps the first one's time and reason.
UPDATE api.dead_letter SET state = 'discarded', changed_at = clock_timestamp(), changed_by = $3, reason = $2
 WHERE letter_id = $1 AND state = 'waiting'
RETURNING letter_id;
