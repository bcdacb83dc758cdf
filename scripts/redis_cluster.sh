#!/bin/sh
# A Redis Cluster of as many nodes as PORTS has numbers, in one container (see docker-compose.yml).
#   cluster.sh          starts the nodes, makes them a cluster the first time, and waits for them
#   cluster.sh healthy  tells whether the first node knows who serves each slot
# STACK is the folder of Redis Stack, DATA the one for the nodes' files.
set -eu
cli="$STACK/bin/redis-cli"
first=${PORTS%% *}

whole() { "$cli" -p "$1" CLUSTER INFO | grep -q '^cluster_state:ok'; }

if [ "${1:-}" = healthy ]; then
    for port in $PORTS; do whole "$port"; done
    exit
fi

bus=16001
nodes=
for port in $PORTS; do
    mkdir -p "$DATA/$bus"
    # The folder and the bus port go with the node's place, so that the ports can move.
    "$STACK/bin/redis-server" --port "$port" --dir "$DATA/$bus" --protected-mode no \
        --appendonly yes --appendfsync everysec \
        --cluster-enabled yes --cluster-port "$bus" --cluster-announce-ip 127.0.0.1 \
        --loadmodule "$STACK/lib/redisearch.so" \
        --loadmodule "$STACK/lib/redistimeseries.so" \
        --loadmodule "$STACK/lib/rejson.so" &
    nodes="$nodes 127.0.0.1:$port"
    bus=$((bus + 1))
done
trap 'kill $(jobs -p) 2>/dev/null || true' TERM INT
for port in $PORTS; do
    until "$cli" -p "$port" PING 2>/dev/null | grep -q PONG; do sleep 0.1; done
done
if "$cli" -p "$first" CLUSTER INFO | grep -q '^cluster_slots_assigned:0'; then
    # shellcheck disable=SC2086 -- one word per node
    "$cli" --cluster create $nodes --cluster-yes
fi
wait
