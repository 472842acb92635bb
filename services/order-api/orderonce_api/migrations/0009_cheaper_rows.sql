-- depends: 0008_letters_are_forgotten
-- What each order paid for and nothing was gained by (docs/decisions/0043).
-- The rows of an order are written by this service alone, in the statement that writes, locks or joins the order itself,
-- and no role of ours may delete an order: four look-ups per order with a lock each found what had just been found.
ALTER TABLE api.outbox DROP CONSTRAINT IF EXISTS outbox_order_id_fkey;
ALTER TABLE api.order_event DROP CONSTRAINT IF EXISTS order_event_order_id_fkey;
ALTER TABLE api.fill DROP CONSTRAINT IF EXISTS fill_order_id_fkey;
-- (client, key) is unique in idempotency_key, whose row names the order; a second index of the same random keys was
-- written at the accept and again at the end.
ALTER TABLE api.orders DROP CONSTRAINT IF EXISTS orders_client_key_key;
