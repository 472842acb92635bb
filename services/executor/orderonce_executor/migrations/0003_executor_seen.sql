-- depends: 0002_executor_quote_amounts
-- What the venue showed of an order other than in its reply to the attempt, and how it came: asked for, or told by its
-- stream. Beside the reply and not in its place: a refusal of this attempt must not be overwritten.
ALTER TABLE executor.attempt
    ADD COLUMN seen_from text,
    ADD COLUMN seen jsonb,
    ADD COLUMN seen_at timestamptz,
    ADD CONSTRAINT attempt_seen_whole CHECK (num_nulls(seen_from, seen, seen_at) IN (0, 3)) NOT VALID;
