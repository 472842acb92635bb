#!/bin/sh
# A load run against a Kafka of your own: no executor, no Postgres, no order. Topics under a prefix of
# its own are made and removed; the records are those that a bot's orders become.
#   KAFKA=127.0.0.1:9092 sh examples/load_own_kafka.sh
# A cluster with SASL and TLS: KAFKA_OPTIONS="--security-protocol SASL_SSL --sasl-username me
#   --sasl-password-file pw --ca-file ca.pem"
set -eu
kafka=${KAFKA:?the bootstrap servers, host:port}
rate=${RATE:-500} seconds=${SECONDS_TO_RUN:-30} accounts=${ACCOUNTS:-64} out=${OUT:-load-report}
prefix="loadtest-$(date +%s)-$$."
orderonce=${ORDERONCE:-orderonce}

# 64 accounts reach all 12 partitions; one account would be one partition, however large the cluster.
# shellcheck disable=SC2086  # options and the command are several words on purpose
$orderonce load --measure kafka --bootstrap "$kafka" ${KAFKA_OPTIONS:-} \
    --topic-prefix "$prefix" --make-topics --replication "${REPLICATION:-1}" \
    --accounts "$accounts" --arrivals poisson --rate "$rate" --seconds "$seconds" \
    --report "$out.json" --html "$out.html"

echo "read $out.html: 'accept' is the brokers' acknowledgement, 'read_back' what a consumer saw"
