-- depends: 0006_ask_again
-- Until its first ANALYZE Postgres knows nothing of a table and takes every column of an index for nearly unique: it
-- looked orders up by (client, key) in the index of a client's newest orders, all of them, one by one, with a plan that
-- it kept. So it is told that clients are few, where it can be told (18 and later). ANALYZE puts its own count here.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000
       AND NOT EXISTS (SELECT 1 FROM pg_stats WHERE schemaname = 'api' AND tablename = 'orders') THEN
        PERFORM pg_restore_attribute_stats('schemaname', 'api', 'relname', 'orders', 'attname', 'client',
            'inherited', false, 'null_frac', 0::real, 'avg_width', 16, 'n_distinct', 10::real);
    END IF;
END $$;
