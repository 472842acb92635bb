-- depends: 0001_api 0002_quote_step
-- A market buy may say what it spends of the quote asset instead of a quantity. Numeric and not control.amount: for a
-- column of a domain with a check Postgres would write the whole table anew, and no order would be accepted meanwhile.
ALTER TABLE api.orders ALTER COLUMN quantity DROP NOT NULL, ADD COLUMN quote_quantity numeric;
ALTER TABLE api.orders
    ADD CONSTRAINT orders_quote_quantity_check CHECK (quote_quantity > 0 AND quote_quantity < 1e40) NOT VALID,
    ADD CONSTRAINT orders_how_much CHECK (num_nonnulls(quantity, quote_quantity) = 1) NOT VALID,
    ADD CONSTRAINT orders_quote_buys CHECK (quote_quantity IS NULL OR (type = 'market' AND side = 'buy')) NOT VALID;
