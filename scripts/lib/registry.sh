# shellcheck shell=bash
# Debian's docker-registry on loopback. Source it after need.sh, then:
#
#   start_registry DIR [LINES]  storage and log in DIR; LINES of YAML go under `http:`, what is not indented
#                               beside it; sets REGISTRY to host:port and REGISTRY_PID
#   stop_registry DIR           ends it and waits for it; its storage stays
#   start_tls DIR               the same with TLS (for localhost; the authority is DIR/ca.crt) and a password
#   start_bearer DIR            the same with tokens; ISSUER_PID is the issuer's
#
# The one user is alice, her password s3cret.

# The port is one the system finds free, so that any number run side by side; started again over the same
# folder it keeps its port.
start_registry() {
    local dir=$1 port tries=0
    mkdir -p "$dir/data"
    port=$(cat "$dir/port" 2>/dev/null || echo 0)
    cat >"$dir/config.yml" <<END
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $dir/data}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: 127.0.0.1:$port
  secret: fixed
${2:-}
END
    OTEL_TRACES_EXPORTER=none docker-registry serve "$dir/config.yml" >"$dir/log" 2>&1 &
    REGISTRY_PID=$!
    echo "$REGISTRY_PID" >"$dir/pid"
    until port=$(grep -o "listening on 127.0.0.1:[0-9]*" "$dir/log" 2>/dev/null); do
        tries=$((tries + 1))
        if [ $tries -gt 100 ] || ! kill -0 "$REGISTRY_PID" 2>/dev/null; then
            echo "docker-registry did not start:" >&2
            tail -n 5 "$dir/log" >&2
            return 1
        fi
        sleep 0.1
    done
    port=${port##*:}
    echo "$port" >"$dir/port"
    REGISTRY=127.0.0.1:$port
}

stop_registry() {
    local pid
    pid=$(cat "$1/pid")
    kill -TERM "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || :
}

# certificate DIR NAME: an authority ca.crt and what it signed for localhost and 127.0.0.1: NAME.crt, NAME.key.
certificate() {
    local dir=$1 name=$2
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=an authority' -keyout "$dir/ca.key" -out "$dir/ca.crt" &&
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$dir/$name.key" -out "$dir/$name.csr" &&
        openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
            -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out "$dir/$name.crt"
} >/dev/null 2>&1

start_tls() {
    local dir=$1
    mkdir -p "$dir"
    certificate "$dir" srv || return 1
    # bcrypt, by `htpasswd -B`
    echo 'alice:$2y$05$r8qMujOAmLSiVX4LyZFTSedRlmWS4ofuBhsXtaK360WJw05sTwtwG' >"$dir/htpasswd"
    start_registry "$dir" "  tls: {certificate: $dir/srv.crt, key: $dir/srv.key}
auth:
  htpasswd: {realm: rig, path: $dir/htpasswd}" || return 1
    REGISTRY=localhost:${REGISTRY##*:}
}

start_bearer() {
    local dir=$1
    mkdir -p "$dir"
    certificate "$dir" token || return 1
    mkfifo "$dir/issuer"
    python3 "${lib:-$(dirname "${BASH_SOURCE[0]}")}/issuer.py" "$dir/token.key" "$dir/token.crt" alice s3cret >"$dir/issuer" &
    ISSUER_PID=$!
    local port
    read -r port <"$dir/issuer"
    start_registry "$dir" "auth:
  token:
    realm: http://127.0.0.1:$port/token
    service: imgpack-registry
    issuer: imgpack-test
    rootcertbundle: $dir/token.crt"
}
