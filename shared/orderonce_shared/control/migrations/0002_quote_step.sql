-- depends: 0001_control
-- The smallest part of the quote asset that the venue takes in an amount; null until the executor has read it.
ALTER TABLE control.instrument ADD COLUMN quote_step control.amount CHECK (quote_step > 0);
