#!/bin/bash
# One node of the Postgres pair of docker-compose.cluster.yml: `node.sh NAME`. PRIMARY names the node
# that takes writes; the other one clones it once and then follows. Which one it is, is an operator's
# word (docs/containers.md, fail-over): a node never makes itself the primary.
set -eu
name=$1
# A standby that was away finds the log of the last gigabyte; one that was away for longer must be
# cloned anew. A replication slot would keep all of it, and fill the primary's disk instead.
settings=(-c max_connections=200 -c hba_file=/etc/orderonce/pg_hba.conf -c "cluster_name=$name" -c wal_keep_size=1GB)
say() { printf 'node %s: %s\n' "$name" "$*" >&2; }

# libpq takes the password from a file; in /tmp, which is memory
printf '*:*:*:replicator:%s\n' "$(cat /run/orderonce/replication.password)" >/tmp/pgpass
chmod 600 /tmp/pgpass
server="host=$PRIMARY user=replicator passfile=/tmp/pgpass"

if [ "$name" = "$PRIMARY" ]; then
    exec docker-entrypoint.sh postgres "${settings[@]}"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Into a folder beside it: a clone that was interrupted is thrown away, never started.
    rm -rf "$PGDATA" "$PGDATA.clone"
    # Not under the node's own name: a clone that is being made does not confirm commits.
    until pg_basebackup -d "$server application_name=clone" -D "$PGDATA.clone" --checkpoint=fast -X stream -R; do
        say "$PRIMARY cannot be cloned yet; again in 2 s"
        rm -rf "$PGDATA.clone"
        sleep 2
    done
    mv "$PGDATA.clone" "$PGDATA"
    say "cloned from $PRIMARY"
elif [ ! -e "$PGDATA/standby.signal" ]; then
    say "its data is that of a former primary, which may hold what $PRIMARY does not."
    say "Look at it, then remove this node's volume; it clones $PRIMARY at its next start."
    exit 1
fi
exec postgres "${settings[@]}" -c "primary_conninfo=$server application_name=$name"
