#!/bin/bash
# The job that ties the pair: makes the role of the standby, waits until the standby follows, and from
# then on no commit is acknowledged that it does not have. Safe to repeat, and after a fail-over too.
set -eu
limit_s=120
umask 077
printf '*:*:*:orderonce:%s\n' "$(cat /run/orderonce/owner.password)" >/tmp/pgpass
export PGPASSFILE=/tmp/pgpass PGHOST=$PRIMARY PGUSER=orderonce PGDATABASE=orderonce
ask() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

# Committed here alone: with a standby that was set and is away it would wait for ever.
export PGOPTIONS="-c synchronous_commit=local"
# The password goes as a variable of psql through its input: in no list of processes.
ask <<SQL
SELECT 'CREATE ROLE replicator' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'replicator') \gexec
\set password \`cat /run/orderonce/replication.password\`
ALTER ROLE replicator WITH LOGIN REPLICATION PASSWORD :'password';
SQL

follows="SELECT count(*) FROM pg_stat_replication
          WHERE state = 'streaming' AND application_name IN ('postgres', 'postgres-standby')"
for _ in $(seq "$limit_s"); do
    if [ "$(ask -c "$follows")" != 0 ]; then
        ask -c "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"postgres\", \"postgres-standby\")'" \
            -c "SELECT pg_reload_conf()" >/dev/null
        echo "pair: $PRIMARY waits for its standby at every commit"
        exit 0
    fi
    sleep 1
done
echo "pair: no standby follows $PRIMARY after $limit_s s: see the log of the other node" >&2
exit 1
