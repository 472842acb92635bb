-- depends: 0008_letters_are_forgotten
-- What each order paid for and nothing was gained by (docs/decisions/0043).
-- The rows of an order are written by this service alone, in the statement that writes, locks or joins the order itself,
-- and no role of ours may delete an order: four look-ups per order with a lock each found what had just been found.
-- All at once and in the order of the services' own statements: one by one, this met them in a deadlock.
LOCK TABLE api.orders, api.order_event, api.outbox, api.fill IN ACCESS EXCLUSIVE MODE;
ALTER TABLE api.outbox DROP CONSTRAINT IF EXISTS outbox_order_id_fkey;
ALTER TABLE api.order_event DROP CONSTRAINT IF EXISTS order_event_order_id_fkey;
ALTER TABLE api.fill DROP CONSTRAINT IF EXISTS fill_order_id_fkey;
-- UNIQUE (client, key) of api.orders stays, though idempotency_key has it too: the version before this one finds its
-- orders by that index.
