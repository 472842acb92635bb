#!/bin/sh
# One order with curl: place it, send the same request again, look at it, cancel it, look again.
#   ORDERONCE_API=http://127.0.0.1:8080 ORDERONCE_KEY_FILE=.data/demo.key sh examples/curl.sh
set -eu
api=${ORDERONCE_API:?the address of the order API} key_file=${ORDERONCE_KEY_FILE:?the file of an API key}
account=${ORDERONCE_ACCOUNT:-paper-1}

# The API key goes in by standard input: what stands in an argument is seen by everyone in `ps`.
ask() {
    printf 'header = "Authorization: Bearer %s"\n' "$(cat "$key_file")" |
        curl --config - --silent --show-error --fail-with-body --retry 5 --retry-all-errors \
            --header 'Content-Type: application/json' "$@"
    echo
}

# A bot keeps this key on disk before it sends; here the shell's variable has to do.
idempotency_key="curl-$(date +%s)-$$-example"
order='{"account":"'$account'","symbol":"BTC/USDT","side":"buy","type":"limit","quantity":"0.001","price":"30000.00"}'

echo "place:"
first=$(ask -H "Idempotency-Key: $idempotency_key" -d "$order" "$api/v1/orders")
echo "$first"

echo "the same request again, as after a lost reply: the same bytes, and still one order:"
again=$(ask -H "Idempotency-Key: $idempotency_key" -d "$order" "$api/v1/orders")
echo "$again"
[ "$first" = "$again" ]

order_id=$(echo "$first" | sed 's/.*"order_id":"\([^"]*\)".*/\1/')

echo "cancel, with a key of its own:"
ask -H "Idempotency-Key: cancel-$idempotency_key" -d '{}' "$api/v1/orders/$order_id/cancel"

echo "follow it to its end:"
tries=0
while order=$(ask "$api/v1/orders/$order_id"); ! echo "$order" | grep -q '"final":true'; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { echo "not final yet: $order" >&2; exit 1; }
    sleep 0.5
done
echo "$order"
