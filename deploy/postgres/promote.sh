#!/bin/bash
# Makes this standby the primary, after an operator has stopped the former one for good: both at once
# would each take orders that the other does not know. See docs/containers.md, fail-over.
set -eu
pg_ctl promote
# It has no standby yet: waiting for one would stop every commit. From here to the next run of `pair`
# there is one copy of what is acknowledged.
for setting in "ALTER SYSTEM RESET synchronous_standby_names" "SELECT pg_reload_conf()"; do
    PGOPTIONS="-c synchronous_commit=local" \
        psql --no-psqlrc --quiet --username orderonce --dbname orderonce --command "$setting" >/dev/null
done
echo "promoted; until a standby follows, every commit is on this node alone"
