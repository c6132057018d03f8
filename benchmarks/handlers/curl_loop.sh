#!/bin/sh
# The tutorial of the custom runtime, as documented: curl in a shell loop, with the event as the answer.
set -eu
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT
while true; do
  event=$(curl -sS -D "$headers" "$base/next")
  request_id=$(grep -i Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
  printf %s "$event" | curl -sS -o /dev/null -X POST "$base/$request_id/response" --data-binary @-
done
