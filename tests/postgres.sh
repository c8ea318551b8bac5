#!/bin/bash
# A PostgreSQL for tests, made and thrown away.
#   tests/postgres.sh start DIR   makes a cluster in the new folder DIR, starts it, prints its URL
#   tests/postgres.sh stop DIR    stops it and removes DIR
#   tests/postgres.sh run CMD..   runs CMD with one whose URL is in JIT_BASTION_TEST_POSTGRES
# It listens on loopback (with a password) and on a socket in DIR (without); it writes nothing through to the disk, and ends by itself
# after two hours. PostgreSQL refuses to run as root: then it runs as the user postgres.
set -euo pipefail
what=${1:?start, stop or run}
shift

if [ "$what" = run ]; then
  dir=$(mktemp -du /tmp/jit-postgres.XXXXXX)
  trap '"$0" stop "$dir"' EXIT
  JIT_BASTION_TEST_POSTGRES=$("$0" start "$dir")
  export JIT_BASTION_TEST_POSTGRES
  "$@"
  exit
fi
dir=$(realpath -m "${1:?a folder}")

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || { echo "PostgreSQL is not installed: tests/setup.sh test" >&2; exit 1; }

as_postgres() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi
}

stop() {
  [ ! -e "$dir/data/postmaster.pid" ] || as_postgres "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null || true
  rm -rf "$dir"
}

free_port() {
  /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# The server proves to be `localhost` by a CA of its own, $dir/ca.pem.
certificate() {
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=test CA" -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
      -extfile <(printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE')
  } >openssl.log 2>&1 || { cat openssl.log >&2; exit 1; }
  chmod 600 server.key
  [ "$(id -u)" != 0 ] || chown postgres: server.key
}

start() {
  mkdir "$dir"
  chmod 700 "$dir"
  [ "$(id -u)" != 0 ] || chown postgres: "$dir"
  cd "$dir"
  echo secret | as_postgres tee "$dir/password" >/dev/null
  as_postgres "$bin/initdb" -D "$dir/data" -U jit --auth-local=trust --auth-host=scram-sha-256 --pwfile="$dir/password" \
    --encoding=UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
  certificate
  local port
  for _ in 1 2 3; do
    port=$(free_port)
    as_postgres setsid timeout --signal=INT 2h "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 \
      -c ssl=on -c ssl_cert_file="$dir/server.pem" -c ssl_key_file="$dir/server.key" -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 \
      -c max_connections=300 -c shared_buffers=64MB -c log_min_messages=fatal </dev/null >"$dir/log" 2>&1 &
    for _ in $(seq 300); do
      if "$bin/pg_isready" -q -h "$dir" -p "$port"; then
        echo "postgres://jit:secret@127.0.0.1:$port/postgres"
        return
      fi
      # taken by somebody in between: another one
      kill -0 $! 2>/dev/null || break
      sleep 0.1
    done
  done
  echo "PostgreSQL did not start:" >&2
  cat "$dir/log" >&2
  stop
  exit 1
}

case $what in
  start) start ;;
  stop) stop ;;
  *) echo "start, stop or run, not $what" >&2; exit 2 ;;
esac
