-- depends: 0001_executor 0002_quote_step
-- A market buy may say what it spends of the quote asset instead of a quantity. NOT VALID keeps the lock short on a
-- table of any size; every row that is there has a quantity and fits.
-- Numeric and not control.amount: for a column of a domain with a check Postgres would write the whole table anew.
ALTER TABLE executor.placement ADD COLUMN quote_quantity numeric;
ALTER TABLE executor.placement DROP CONSTRAINT placement_check;
ALTER TABLE executor.placement
    ADD CONSTRAINT placement_quote_quantity_check CHECK (quote_quantity > 0 AND quote_quantity < 1e40) NOT VALID,
    ADD CONSTRAINT placement_terms_whole CHECK (
        num_nulls(side, type, time_in_force, post_only, expires_at, payload_hash) IN (0, 6)
        AND num_nonnulls(quantity, quote_quantity) = num_nonnulls(side)) NOT VALID,
    ADD CONSTRAINT placement_quote_buys CHECK (quote_quantity IS NULL OR (type = 'market' AND side = 'buy')) NOT VALID;
