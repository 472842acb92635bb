-- name: timeline
-- Which history the database is on now.
SELECT control.timeline()

-- name: remember_timeline
-- The first process ever writes down which history these rows belong to; one that starts at the same moment waits.
INSERT INTO executor.timeline (timeline) VALUES (control.timeline()) ON CONFLICT DO NOTHING

-- name: remembered_timeline
-- A statement of its own: in one with the insert it would not see the row that the insert waited for.
SELECT timeline FROM executor.timeline

-- name: begin_process
-- The row and its lock become visible together: a row without a holder of its lock is a dead process.
INSERT INTO executor.process (process_id, host, pid) VALUES ($1, $2, $3) RETURNING lock_id

-- name: hold_lock
-- Session lock, on the connection that runs this and only there (R8).
SELECT pg_try_advisory_lock(1953, $1)

-- name: end_backend
-- Our own former session, should the server not know yet that it is gone.
SELECT pg_terminate_backend($1)

-- name: dead_processes
-- Processes whose lock nobody holds. pg_locks is asked, since taking the lock to test it would look like life to others.
SELECT p.process_id FROM executor.process p
 WHERE NOT EXISTS (
    SELECT FROM pg_locks l
     WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 1953 AND l.objid = p.lock_id::oid AND l.objsubid = 2
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))

-- name: adopt
-- Rows of dead processes become ours; SKIP LOCKED shares them out among all who look.
UPDATE executor.placement p SET owner = $1, next_at = least(p.next_at, clock_timestamp())
  FROM (SELECT order_id FROM executor.placement
         WHERE owner = ANY ($2::uuid[]) AND NOT settled
         ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED) dead
 WHERE p.order_id = dead.order_id
RETURNING p.*

-- name: adopt_outbox
-- Letters of dead processes become ours.
UPDATE executor.outbox o SET owner = $1
  FROM (SELECT id FROM executor.outbox WHERE owner = ANY ($2::uuid[]) ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) dead
 WHERE o.id = dead.id
RETURNING o.id, o.topic, o.key, o.value, o.headers

-- name: forget_processes
-- Rows of processes that left nothing behind. Not at once: a placement of a claim under way may still appear.
DELETE FROM executor.process p
 WHERE p.process_id = ANY ($1::uuid[]) AND p.started_at < clock_timestamp() - interval '1 minute'
   AND NOT EXISTS (SELECT FROM executor.placement WHERE owner = p.process_id AND NOT settled)
   AND NOT EXISTS (SELECT FROM executor.outbox WHERE owner = p.process_id)

-- name: claim_places
-- R3: the returned rows are ours. Keys sorted, so that two claims of the same keys cannot deadlock. No key of a cancel.
INSERT INTO executor.placement (order_id, client, key, account, venue, symbol, client_order_id, side, type, quantity,
    quote_quantity, price, time_in_force, post_only, expires_at, payload_hash, key_id, accept_seq, seq, traceparent,
    asked_timeline, timeline, version, state, owner, next_at)
SELECT a.order_id, a.client, a.key, a.account, a.venue, a.symbol, a.client_order_id, a.side, a.type, a.quantity,
    a.quote_quantity, a.price, a.time_in_force, a.post_only, a.expires_at, a.payload_hash, a.key_id, a.accept_seq, a.seq,
    a.traceparent, a.asked_timeline, $21, 1, 'claimed', $22, clock_timestamp() + interval '2 seconds'
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
              $10::text[]::numeric[], $11::text[]::numeric[], $12::text[], $13::boolean[], $14::text[]::timestamptz[],
              $15::text[], $16::text[], $17::bigint[], $18::integer[], $19::text[], $20::text[], $23::text[]::numeric[])
    AS a (order_id, client, key, account, venue, symbol, client_order_id, side, type, quantity, price, time_in_force,
          post_only, expires_at, payload_hash, key_id, accept_seq, seq, traceparent, asked_timeline, quote_quantity)
 WHERE control.timeline() = $21
   AND NOT EXISTS (SELECT FROM executor.command c WHERE c.client = a.client AND c.key = a.key)
 ORDER BY a.client, a.key
ON CONFLICT DO NOTHING
RETURNING order_id, next_at, created_at, updated_at

-- name: claim_commands
-- R3 for cancels. No key of a place.
INSERT INTO executor.command (client, key, kind, order_id, account, venue, payload_hash, key_id, accept_seq, seq, timeline,
    traceparent)
SELECT a.client, a.key, 'cancel', a.order_id, a.account, a.venue, a.payload_hash, a.key_id, a.accept_seq, a.seq, a.timeline,
    a.traceparent
  FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
              $9::integer[], $10::text[], $11::text[])
    AS a (client, key, order_id, account, venue, payload_hash, key_id, accept_seq, seq, timeline, traceparent)
 WHERE control.timeline() = $12
   AND NOT EXISTS (SELECT FROM executor.placement p WHERE p.client = a.client AND p.key = a.key)
 ORDER BY a.client, a.key
ON CONFLICT DO NOTHING
RETURNING client, key

-- name: claim_cancels_first
-- R10: a cancel that comes before its place makes the row, CANCELED unsent; the place will find it.
INSERT INTO executor.placement (order_id, client, key, account, venue, symbol, client_order_id, traceparent, timeline, version,
    state, cancel_requested, reason_code, reason_detail, owner, next_at, settled)
SELECT a.order_id, a.client, a.key, a.account, a.venue, a.symbol, a.client_order_id, a.traceparent, $9, 1,
    'canceled', true, $10, $11, $12, clock_timestamp(), true
  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS a (order_id, client, key, account, venue, symbol, client_order_id, traceparent)
 ORDER BY a.client, a.key
ON CONFLICT DO NOTHING
RETURNING *

-- name: present_placements
-- Rows that the commands of a batch may speak of, locked against everybody else until the claim commits.
-- Two look-ups, each by its index: joined by OR they would read every placement there is.
SELECT p.* FROM executor.placement p
 WHERE p.order_id IN (
    SELECT unnest($1::uuid[])
     UNION
    SELECT q.order_id FROM unnest($2::text[], $3::text[]) AS n (client, key)
      JOIN executor.placement q ON q.client = n.client AND q.key = n.key)
 ORDER BY p.order_id FOR UPDATE OF p

-- name: present_commands
-- Commands that already have these keys.
SELECT c.client, c.key, c.order_id, c.payload_hash FROM executor.command c
 WHERE (c.client, c.key) IN (SELECT * FROM unnest($1::text[], $2::text[]))

-- name: learn_terms
-- The place of an order that was canceled before it came.
UPDATE executor.placement SET side = $2, type = $3, quantity = $4, price = $5, time_in_force = $6, post_only = $7,
    expires_at = $8, payload_hash = $9, key_id = $10, accept_seq = $11, seq = $12, asked_timeline = $13,
    quote_quantity = $14, version = version + 1, updated_at = clock_timestamp()
 WHERE order_id = $1 AND payload_hash IS NULL AND timeline = control.timeline()
RETURNING *

-- name: save_positions
-- Where the next claim goes on reading; goes back with the claims when the database does (R13).
INSERT INTO executor.position (topic, partition, next_offset, timeline)
SELECT a.*, $4 FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS a ORDER BY 1, 2
ON CONFLICT (topic, partition) DO UPDATE
   SET next_offset = excluded.next_offset, timeline = excluded.timeline, updated_at = clock_timestamp()

-- name: cas_sending
-- R4, one autocommitted statement. The control rows are locked FOR SHARE in MATERIALIZED CTEs: so it waits for a halt
-- under way and sees what the halt wrote, and a halt that comes later waits for it. The clock is read after the locks.
-- The deadline is asked for on the venue's clock and on ours, whichever is ahead: nothing leaves late on either.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS a (order_id, version)
), account AS MATERIALIZED (
    SELECT a.account, a.halted FROM control.account a WHERE a.account = ANY ($3::text[]) ORDER BY a.account FOR SHARE
), asker AS MATERIALIZED (
    SELECT k.kid, k.status FROM control.api_key k WHERE k.kid = ANY ($4::text[]) ORDER BY k.kid FOR SHARE
), clocked AS MATERIALIZED (
    SELECT p.order_id, p.version, p.state, p.timeline, p.cancel_requested, p.refusals, p.key_id, p.side,
           k.status AS key_status, a.halted, v.smallest_ms, c.offset_ms,
           t.now_ms, t.now_ms + c.offset_ms AS signed_at_ms, floor(extract(epoch FROM p.expires_at) * 1000)::bigint AS expires_at_ms
      FROM asked
      JOIN executor.placement p ON p.order_id = asked.order_id AND p.version = asked.version
      LEFT JOIN account a ON a.account = p.account
      LEFT JOIN asker k ON k.kid = p.key_id
      LEFT JOIN executor.venue_clock c ON c.account = p.account
      LEFT JOIN unnest($5::text[], $6::integer[]) AS v (venue, smallest_ms) ON v.venue = p.venue
     CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 0 * p.version AS now_ms) t
), judged AS MATERIALIZED (
    SELECT order_id, version, signed_at_ms,
           least($7::bigint, expires_at_ms - greatest(signed_at_ms, now_ms))::integer AS window_ms,
           CASE WHEN state <> 'claimed' OR timeline <> $8 OR (SELECT control.timeline()) <> $8 THEN 'stale'
                WHEN cancel_requested THEN 'canceled'
                WHEN key_id IS NOT NULL AND key_status IS DISTINCT FROM 'active' THEN 'revoked'
                WHEN refusals >= $9 THEN 'exhausted'
                WHEN expires_at_ms < now_ms THEN 'lapsed'
                WHEN offset_ms IS NULL OR smallest_ms IS NULL THEN 'waiting'
                WHEN expires_at_ms < greatest(signed_at_ms, now_ms) + smallest_ms THEN 'lapsed'
                WHEN halted IS NOT FALSE THEN 'waiting'
                ELSE 'send' END AS outcome
      FROM clocked
), sending AS (
    UPDATE executor.placement p
       SET state = 'sending', attempt = p.attempt + 1, version = p.version + 1, signed_at_ms = j.signed_at_ms,
           window_ms = j.window_ms, sent_at = clock_timestamp(), updated_at = clock_timestamp(), owner = $10
      FROM judged j
     WHERE p.order_id = j.order_id AND j.outcome = 'send'
       AND p.version = j.version AND p.timeline = $8 AND p.state = 'claimed' AND NOT p.cancel_requested
    RETURNING p.order_id, p.attempt, p.version, p.signed_at_ms, p.window_ms, p.sent_at, p.updated_at
), attempts AS (
    INSERT INTO executor.attempt (order_id, attempt, signed_at_ms, window_ms, process_id)
    SELECT order_id, attempt, signed_at_ms, window_ms, $10 FROM sending
)
SELECT j.order_id, j.outcome, s.attempt, s.version, s.signed_at_ms, s.window_ms, s.sent_at, s.updated_at
  FROM judged j LEFT JOIN sending s USING (order_id)

-- name: save
-- R6: compare (timeline, version), then set. A row that is not returned was changed by somebody else meanwhile.
UPDATE executor.placement p
   SET state = a.state, cancel_requested = a.cancel_requested, venue_order_id = a.venue_order_id,
       filled_quantity = a.filled_quantity, filled_cost = a.filled_cost, fees = a.fees::jsonb,
       reason_code = a.reason_code, reason_detail = a.reason_detail, refusals = a.refusals,
       last_refusal = a.last_refusal, next_at = a.next_at, settled = a.settled,
       version = p.version + 1, updated_at = clock_timestamp()
  FROM (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::text[]::numeric[], $7::text[]::numeric[],
              $8::text[], $9::text[], $10::text[], $11::integer[], $12::text[], $13::text[]::timestamptz[], $14::boolean[])
          AS a (order_id, version, state, cancel_requested, venue_order_id, filled_quantity, filled_cost, fees, reason_code,
                reason_detail, refusals, last_refusal, next_at, settled) ORDER BY order_id) a
 WHERE p.order_id = a.order_id AND p.version = a.version AND p.timeline = $15 AND (SELECT control.timeline()) = $15
RETURNING p.order_id, p.version, p.updated_at

-- name: keep_words
-- Evidence per attempt, kept whether the row's CAS hit or missed; `applied` says which.
UPDATE executor.attempt t
   SET sent = a.sent, verdict = a.verdict, word = a.word::jsonb, applied = a.applied, heard_at = clock_timestamp()
  FROM unnest($1::uuid[], $2::integer[], $3::boolean[], $4::text[], $5::text[], $6::boolean[])
    AS a (order_id, attempt, sent, verdict, word, applied)
 WHERE t.order_id = a.order_id AND t.attempt = a.attempt

-- name: keep_seen
-- The venue's word that last changed the row, other than the reply to its attempt, and how it came.
UPDATE executor.attempt t SET seen_from = a.seen_from, seen = a.seen::jsonb, seen_at = clock_timestamp()
  FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[]) AS a (order_id, attempt, seen_from, seen)
 WHERE t.order_id = a.order_id AND t.attempt = a.attempt

-- name: keep_absence
-- How absence was proven.
UPDATE executor.attempt SET absence = $3::text::jsonb WHERE order_id = $1 AND attempt = $2

-- name: words_applied
-- The row has taken them in.
UPDATE executor.attempt SET applied = true WHERE order_id = $1 AND attempt = $2

-- name: waiting_words
-- Words that missed their row, on rows that we look after. OFFSET 0: these few words first, by the index of just them.
SELECT t.order_id, t.attempt, t.verdict, t.word
  FROM (SELECT * FROM executor.attempt WHERE NOT applied ORDER BY order_id OFFSET 0) AS t
  JOIN executor.placement p USING (order_id)
 WHERE p.owner = $1 OR p.settled ORDER BY t.order_id, t.attempt LIMIT $2

-- name: insert_fills
-- Each trade once, by its natural key; only new ones are returned and published.
INSERT INTO executor.fill (venue, account, symbol, trade_id, venue_order_id, side, order_id, quantity, price, cost, fees,
    liquidity, traded_at, raw)
SELECT a.venue, a.account, a.symbol, a.trade_id, a.venue_order_id, a.side, a.order_id, a.quantity, a.price, a.cost,
       a.fees::jsonb, a.liquidity, a.traded_at, a.raw::jsonb
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[]::numeric[],
              $9::text[]::numeric[], $10::text[]::numeric[], $11::text[], $12::text[], $13::text[]::timestamptz[],
              $14::text[])
    AS a (venue, account, symbol, trade_id, venue_order_id, side, order_id, quantity, price, cost, fees, liquidity, traded_at,
          raw)
 ORDER BY a.venue, a.account, a.symbol, a.trade_id, a.venue_order_id, a.side
ON CONFLICT DO NOTHING
RETURNING order_id, trade_id, venue_order_id, side

-- name: fills_of_order
-- How much of an order is recorded.
SELECT count(*) AS count, coalesce(sum(quantity), 0) AS quantity FROM executor.fill WHERE order_id = $1

-- name: load
-- Rows as they are now; the fees counted anew from the fills, since a missed CAS records fills without its row.
SELECT p.*, coalesce((
        SELECT jsonb_agg(jsonb_build_object('asset', asset, 'amount', amount::text) ORDER BY asset)
          FROM (SELECT fee ->> 'asset' AS asset, sum((fee ->> 'amount')::numeric) AS amount
                  FROM executor.fill f, jsonb_array_elements(f.fees) AS fee
                 WHERE f.order_id = p.order_id GROUP BY 1) totals), '[]') AS fees_now
  FROM executor.placement p WHERE p.order_id = ANY ($1::uuid[]) ORDER BY p.order_id

-- name: due
-- Rows of ours whose time has come, without those that this process has in hand.
SELECT p.* FROM executor.placement p
 WHERE p.owner = $1 AND NOT p.settled AND p.next_at <= clock_timestamp() AND p.state = ANY ($2::text[])
   AND NOT EXISTS (SELECT FROM unnest($3::uuid[]) AS h (order_id) WHERE h.order_id = p.order_id)
 ORDER BY p.next_at LIMIT $4

-- name: lost_senders
-- SENDING rows of ours that no task has in hand: the CAS was committed and its answer lost.
SELECT p.* FROM executor.placement p
 WHERE p.owner = $1 AND NOT p.settled AND p.state = 'sending' AND p.sent_at < clock_timestamp() - $2::interval
   AND NOT EXISTS (SELECT FROM unnest($3::uuid[]) AS h (order_id) WHERE h.order_id = p.order_id)
 ORDER BY p.next_at LIMIT $4

-- name: marked
-- R10: an accepted cancel is driven by its mark, whoever died.
SELECT p.* FROM executor.placement p
 WHERE p.owner = $1 AND NOT p.settled AND p.cancel_requested AND p.state IN ('sending', 'unknown', 'open')
 ORDER BY p.next_at LIMIT $2

-- name: overdue
-- CLAIMED rows of ours past their deadline, whatever keeps them from the CAS (no key for the account, venue unreachable);
-- $2 are on their way to one.
SELECT p.* FROM executor.placement p
 WHERE p.owner = $1 AND NOT p.settled AND p.state = 'claimed' AND p.expires_at < clock_timestamp() - interval '1 second'
   AND NOT p.order_id = ANY ($2::uuid[])
 ORDER BY p.next_at LIMIT $3

-- name: postpone
-- When to look again; no change of state, hence no version and no event.
UPDATE executor.placement p SET next_at = clock_timestamp() + make_interval(secs => a.pause_s)
  FROM unnest($1::uuid[], $2::float8[]) AS a (order_id, pause_s)
 WHERE p.order_id = a.order_id AND NOT p.settled

-- name: look_again
-- Orders that the stream of their account may have told of while nobody listened: asked for by REST now.
UPDATE executor.placement SET next_at = clock_timestamp()
 WHERE owner = $1 AND account = $2 AND NOT settled AND state IN ('open', 'unknown') AND next_at > clock_timestamp()

-- name: post
-- Letters leave from here, after the commit that they belong to.
INSERT INTO executor.outbox (owner, topic, key, value, headers)
SELECT $1, a.topic, a.key, a.value, a.headers::jsonb
  FROM unnest($2::text[], $3::text[], $4::bytea[], $5::text[]) WITH ORDINALITY AS a (topic, key, value, headers, place)
 ORDER BY a.place
RETURNING id

-- name: posted
-- The brokers have acknowledged them.
DELETE FROM executor.outbox WHERE id = ANY ($1::bigint[])

-- name: sweep_outbox
-- Letters of ours that are not in hand: adopted, or committed without our hearing of it.
SELECT o.id, o.topic, o.key, o.value, o.headers FROM executor.outbox o
 WHERE o.owner = $1 AND o.created_at < clock_timestamp() - interval '2 seconds'
   AND NOT EXISTS (SELECT FROM unnest($2::bigint[]) AS h (id) WHERE h.id = o.id)
 ORDER BY o.id LIMIT $3

-- name: accounts
-- Venue accounts that are admitted.
SELECT account, venue, venue_uid, halted FROM control.account WHERE account = ANY ($1::text[])

-- name: database_clock
-- For the offset: the database's clock in milliseconds, read between two looks at ours.
SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint

-- name: save_clock
-- Venue's clock minus the database's.
INSERT INTO executor.venue_clock (account, venue, offset_ms, uncertain_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (account) DO UPDATE SET venue = excluded.venue, offset_ms = excluded.offset_ms,
    uncertain_ms = excluded.uncertain_ms, measured_at = clock_timestamp()

-- name: save_instruments
-- The executor holds the venue, so it keeps the instruments that the order API checks against.
INSERT INTO control.instrument (venue, symbol, base, quote, tick_size, step_size, min_quantity, max_quantity, min_notional,
                                quote_step)
SELECT $1, a.* FROM unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::numeric[], $8::numeric[],
                           $9::numeric[], $10::numeric[]) AS a ORDER BY 2
ON CONFLICT (venue, symbol) DO UPDATE SET base = excluded.base, quote = excluded.quote, tick_size = excluded.tick_size,
    step_size = excluded.step_size, min_quantity = excluded.min_quantity, max_quantity = excluded.max_quantity,
    min_notional = excluded.min_notional, quote_step = excluded.quote_step, updated_at = clock_timestamp()

-- name: save_reference_prices
-- A mid price with its time, for notional checks of market orders.
UPDATE control.instrument i SET reference_price = a.price, reference_at = clock_timestamp(), updated_at = clock_timestamp()
  FROM (SELECT * FROM unnest($2::text[], $3::numeric[]) AS a (symbol, price) ORDER BY symbol) a
 WHERE i.venue = $1 AND i.symbol = a.symbol

-- name: counts
-- What /metrics says about the tables.
SELECT count(*) FILTER (WHERE state = 'claimed') AS claimed, count(*) FILTER (WHERE state = 'sending') AS sending,
       count(*) FILTER (WHERE state = 'unknown') AS unknown, count(*) FILTER (WHERE state = 'open') AS open,
       coalesce(extract(epoch FROM clock_timestamp() - min(sent_at) FILTER (WHERE state = 'unknown')), 0)::float8 AS oldest_unknown_s,
       (SELECT count(*) FROM executor.outbox WHERE owner = $1) AS outbox
  FROM executor.placement WHERE owner = $1 AND NOT settled

-- name: unknowns
-- How many orders of each account are in doubt: many pause its sends (R12).
SELECT account, count(*) AS orders FROM executor.placement
 WHERE owner = $1 AND NOT settled AND state = 'unknown' GROUP BY account
