-- depends: 0005_dead_letters
-- When an order that is not final was asked about last: its command goes out again when nothing was heard for long,
-- since Kafka may have lost the event that would have ended it.
ALTER TABLE api.orders ADD COLUMN asked_at timestamptz;
