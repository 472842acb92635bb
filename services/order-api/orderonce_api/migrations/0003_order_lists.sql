-- depends: 0002_quote_amounts
-- What GET /v1/orders walks, newest first. `account` and `symbol` stand behind the order of time, so that a filter is
-- answered from the index without a look at rows that do not fit, and an accept writes no index more than before. None
-- holds a column that changes while an order lives: its way to its end stays a heap-only update. On a table of many
-- millions make these by hand first, CONCURRENTLY: this migration then finds them there and holds up no accept.
CREATE INDEX IF NOT EXISTS orders_newest_at ON api.orders (client, accepted_at, accept_seq, account, symbol);
CREATE INDEX IF NOT EXISTS orders_live_at ON api.orders (client, accepted_at, accept_seq) WHERE NOT final;
-- The final ones by how they ended, which their reason says: an order enters one of these when it ends (an order that
-- the venue rejected after it was open enters two).
CREATE INDEX IF NOT EXISTS orders_filled_at ON api.orders (client, accepted_at, accept_seq, account, symbol)
    WHERE final AND reason_code IS NULL;
CREATE INDEX IF NOT EXISTS orders_canceled_at ON api.orders (client, accepted_at, accept_seq, account, symbol)
    WHERE final AND reason_code IN ('canceled-by-client', 'canceled-at-venue', 'venue-expired', 'venue-rejected');
CREATE INDEX IF NOT EXISTS orders_failed_at ON api.orders (client, accepted_at, accept_seq, account, symbol)
    WHERE final AND reason_code NOT IN ('canceled-by-client', 'canceled-at-venue', 'venue-expired');
DROP INDEX IF EXISTS api.orders_newest;
DROP INDEX IF EXISTS api.orders_live;
