#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The HTTP server alone against nginx `return 202`: POSTs of 500 bytes over 64 connections, alternating, medians of the rounds.
#   tests/bench/http.sh [BUILD_FOLDER] [SECONDS] [ROUNDS]
set -eu
build=${1:-build/ci} seconds=${2:-5} rounds=${3:-3}
cd "$(dirname "$0")/../.."
for tool in nginx wrk; do
	command -v $tool >/dev/null || PATH=$PATH:/usr/sbin
	command -v $tool >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
dir=$(mktemp -d)
cleanup() {
	exec 3>&- || true
	[ -z "${nginx_pid:-}" ] || kill "$nginx_pid" 2>/dev/null || true
	wait
	rm -rf "$dir"
}
trap cleanup EXIT INT TERM

cat >"$dir/post.lua" <<'LUA'
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"source":"com.shop","detail-type":"OrderPlaced","detail":{"id":"o-1","total":120,"pad":"' .. string.rep("x", 408) .. '"}}'
LUA

nginx_port=$((20000 + $$ % 10000))
cat >"$dir/nginx.conf" <<NGINX
worker_processes 1; daemon off; pid $dir/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
	access_log off; keepalive_requests 1000000000;
	client_body_temp_path $dir; proxy_temp_path $dir; fastcgi_temp_path $dir; uwsgi_temp_path $dir; scgi_temp_path $dir;
	server { listen 127.0.0.1:$nginx_port; location / { return 202; } }
}
NGINX
nginx -p "$dir" -c "$dir/nginx.conf" &
nginx_pid=$!

mkfifo "$dir/in"
"$build/bench_http" <"$dir/in" >"$dir/out" &
exec 3>"$dir/in"
while [ ! -s "$dir/out" ]; do sleep 0.05; done
our_port=$(head -n 1 "$dir/out")

load() { wrk -t 1 -c 64 -d "${seconds}s" -s "$dir/post.lua" "http://127.0.0.1:$1/hooks/shop" | awk '
	/Requests\/sec/ { rate = $2 } /Non-2xx/ { bad = $NF } END { if (bad) print "answers that are no success: " bad >"/dev/stderr"; print rate }'; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for round in $(seq "$rounds"); do
	load "$nginx_port" >>"$dir/nginx"
	load "$our_port" >>"$dir/ours"
	echo "round $round: nginx $(tail -n 1 "$dir/nginx"), signalbox $(tail -n 1 "$dir/ours") requests/s"
done
awk -v n="$(median "$dir/nginx")" -v o="$(median "$dir/ours")" 'BEGIN { printf "median: nginx %.0f, signalbox %.0f, ratio %.2f\n", n, o, o / n }'
exec 3>&-
while [ "$(wc -l <"$dir/out")" -lt 2 ]; do sleep 0.05; done
tail -n 1 "$dir/out"
