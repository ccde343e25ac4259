#!/bin/sh
# Writes /data/valkey.conf and /data/sentinel.conf: keys are taken anew, roles are kept.
set -eu
keys=${KEYS:-/keys} data=${DATA:-/data}
first=$(cut -d " " -f 1 "$keys/hosts")

# The master by the word of the other nodes' sentinels; nothing: none of them answers.
master() {
  for host in $(cat "$keys/hosts"); do
    [ "$host" = "$HOST_IP" ] || REDISCLI_AUTH=$(cat "$keys/ask.password") valkey-cli -t 2 \
      -h "$host" -p 26379 --user store sentinel get-master-addr-by-name berth 2>/dev/null |
      head -n 1
  done | grep -m 1 "[0-9]" || true
}

role=$(grep "^replicaof " "$data/valkey.conf" 2>/dev/null || true)
if [ ! -e "$data/valkey.conf" ]; then
  # Who has lost its data must not come back as an empty master: another is chosen first.
  found=$(master) tries=0
  while [ "$found" = "$HOST_IP" ] && [ "$tries" -lt 60 ]; do
    sleep 1
    found=$(master) tries=$((tries + 1))
  done
  found=${found:-$first}
  [ "$found" = "$HOST_IP" ] || role="replicaof $found 6379"
fi
umask 077
{
  cat "$keys/valkey.conf"
  echo "bind $HOST_IP"
  echo "dir $data"
  echo "aclfile $keys/users.acl"
  echo "replica-announce-ip $HOST_IP"
  echo "$role"
} > "$data/valkey.conf.new"
mv "$data/valkey.conf.new" "$data/valkey.conf"

if [ -e "$data/sentinel.conf" ]; then
  grep -v -f "$keys/sentinel.replaced" "$data/sentinel.conf" > "$data/sentinel.conf.new"
else
  {
    echo "port 26379"
    echo "bind $HOST_IP"
    echo "dir $data"
    echo "aclfile $keys/sentinel.acl"
    echo "sentinel announce-ip $HOST_IP"
    cat "$keys/sentinel.monitor"
  } > "$data/sentinel.conf.new"
fi
cat "$keys/sentinel.conf" >> "$data/sentinel.conf.new"
mv "$data/sentinel.conf.new" "$data/sentinel.conf"
