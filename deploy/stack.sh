#!/bin/sh
# The containers from outside: `deploy/stack.sh up | demo | down`. Needs docker with compose, nothing
# else. CLUSTER=1 takes the three brokers and the standby of docker-compose.cluster.yml.
set -eu
cd "$(dirname "$0")/.."
# COMPOSE_FILE names the files, as it does for docker compose itself.
if [ -z "${COMPOSE_FILE:-}" ] && [ -n "${CLUSTER:-}" ]; then
    export COMPOSE_FILE=docker-compose.yml:docker-compose.cluster.yml COMPOSE_PATH_SEPARATOR=:
fi
demo_out=

say() { printf '%s\n' "$*" >&2; }
fail() { say "stack: $*"; exit 1; }
compose() { docker compose "$@"; }

docker info >/dev/null 2>&1 || fail "no Docker engine answers. Start it, and see that this user may use it."
docker compose version >/dev/null 2>&1 || fail "docker has no compose plugin: https://docs.docker.com/compose/install"

# Starts what does not run and returns when orders can be placed. Whatever failed says why in its log.
start() {
    if ! compose up --detach --quiet-pull; then
        compose ps --all >&2
        fail "not everything started: see above, and docker compose logs NAME"
    fi
    say "stack: everything runs; keys, accounts and books are made ready"
    job=$(compose ps --all --quiet keys)
    if [ "$(docker wait "$job")" != 0 ]; then
        compose logs --no-log-prefix keys >&2
        fail "the job keys failed (see above)"
    fi
}

runs() { [ -n "$(compose ps --quiet --status running order-api)" ]; }

where() {
    api=$(compose port order-api 8080)
    cat <<EOF

order API        http://$api
ledger           http://$(compose port ledger 8082)
paper exchange   http://$(compose port paper-exchange 8090)   its faults: http://$(compose port paper-exchange 8091)
Kafka            $(compose port kafka 9092)
commands         docker compose run --rm cli --help

Your first order by hand:
  KEY=\$(docker compose run --rm -T --entrypoint cat cli /run/orderonce/keys/demo.key)
  curl -si http://$api/v1/orders \\
    -H "Authorization: Bearer \$KEY" -H "Idempotency-Key: my-first-order-0001" -H "Content-Type: application/json" \\
    -d '{"account":"paper-1","symbol":"BTC/USDT","side":"buy","type":"market","quantity":"0.001"}'
  docker compose run --rm cli order show my-first-order-0001
EOF
}

# The demo runs in a container and asks, by a line of its own, for the kill of another one: no
# container has power over containers.
demo() {
    found=down
    ! runs || found=up
    trap 'leave' EXIT
    trap 'exit 130' INT TERM
    start
    demo_out=$(mktemp)
    { compose run --rm -T cli demo && echo "demo: clean" || echo "demo: not clean"; } |
        while IFS= read -r line; do
            case $line in
                "please kill an executor now")
                    victim=$(compose ps --quiet executor | head -n 1)
                    docker kill --signal KILL "$victim" >/dev/null
                    docker start "$victim" >/dev/null # what was killed by hand no policy restarts
                    ;;
                "demo: clean") echo clean >"$demo_out" ;;
                "demo: not clean") ;;
                *) printf '%s\n' "$line" ;;
            esac
        done
    [ "$(cat "$demo_out")" = clean ] || fail "the demo found something, or did not get to its end (see above)"
    say "stack: the demo found nothing wrong"
}

# As it was found: down if it was down. The data stays.
leave() {
    rm -f "$demo_out"
    if [ "$found" = down ]; then
        say "stack: stopping what was started; the data stays"
        compose down >/dev/null 2>&1 || say "stack: docker compose down failed"
    else
        say "stack: it ran before and goes on"
    fi
}

case ${1:-} in
    up) start; where ;;
    demo) demo ;;
    down) shift; compose down "$@" ;;
    *) fail "usage: deploy/stack.sh up | demo | down [-v]" ;;
esac
