#!/bin/sh
# Print both stored values of an application: sh read.sh APP_ID
# Each is a line of JSON; the credential is its member server_access_token or js_ticket (with jq: | jq -r .js_ticket).
# Set the password in REDISCLI_AUTH, which redis-cli reads. As an argument, every user of the machine could see it.
set -eu
for name in server_access_token js_ticket; do
    key="type/${name}_info/app_id/$1"
    value=$("${REDIS_CLI:-redis-cli}" -h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-6379}" --raw GET "$key")
    [ -n "$value" ] || { echo "nothing is stored under $key: run token-refresher status" >&2; exit 1; }
    echo "$value"
done
