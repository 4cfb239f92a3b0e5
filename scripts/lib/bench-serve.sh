# shellcheck shell=bash
# Sourced by bench: `imgpack serve` beside Debian's docker-registry, the same load on each in turn. What counts is
# the CPU time and the memory of the server; the load (ab, curl) runs on the same cores.

. "$here/lib/registry.sh"
mkdir -p "$RIG/serve/reg" "$RIG/serve/blob"
start_registry "$RIG/serve/reg"
RIG_PIDS="$RIG_PIDS $REGISTRY_PID"
registry_pid=$REGISTRY_PID registry=$REGISTRY

# start_serve LOG ARGUMENTS…: sets SERVE_PID and SERVE (host:port)
start_serve() {
    local log=$1
    shift
    "$IMGPACK" serve --listen 127.0.0.1:0 "$@" 2>"$log" &
    SERVE_PID=$!
    RIG_PIDS="$RIG_PIDS $SERVE_PID"
    for _ in $(seq 100); do
        SERVE=$(sed -n 's|.*listening on http://||p' "$log")
        [ -z "$SERVE" ] || return 0
        sleep 0.1
    done
    cat "$log" >&2
    return 1
}
# server_race JOB BARS SIDE…: as race, but the last field is the pid of the server that is measured alone
server_race() { RACE_SERVER=1 race "$@"; }

skopeo --insecure-policy copy -q --dest-tls-verify=false "oci:$dir/golang.oci" "docker://$registry/golang:1"
start_serve "$RIG/serve/read.log" "$dir/golang.oci"
reader=$SERVE reader_pid=$SERVE_PID
start_serve "$RIG/serve/write.log" --writable "$RIG/serve/store" --delete
writer=$SERVE writer_pid=$SERVE_PID

# A blob of 200 MB in an image of its own, for both.
python3 - "$RIG/serve/blob" <<'PY'
import hashlib, json, os, random, sys
at = sys.argv[1]
blobs = os.path.join(at, "blobs/sha256")
os.makedirs(blobs)
def put(data):
    digest = hashlib.sha256(data).hexdigest()
    open(os.path.join(blobs, digest), "wb").write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
T = "application/vnd.oci.image."
layer = put(random.Random(1).randbytes(200_000_000)) | {"mediaType": "application/octet-stream"}
config = put(b"{}") | {"mediaType": "application/vnd.oci.empty.v1+json"}
manifest = put(json.dumps({"schemaVersion": 2, "mediaType": T + "manifest.v1+json", "artifactType": "application/x.bench",
                           "config": config, "layers": [layer]}).encode())
entry = manifest | {"mediaType": T + "manifest.v1+json", "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/blob:1"}}
json.dump({"schemaVersion": 2, "manifests": [entry]}, open(os.path.join(at, "index.json"), "w"))
open(os.path.join(at, "oci-layout"), "w").write('{"imageLayoutVersion":"1.0.0"}')
open(os.path.join(at, "layer"), "w").write(layer["digest"])
PY
large=$(cat "$RIG/serve/blob/layer")
"$IMGPACK" push -q "oci:$RIG/serve/blob:docker.io/library/blob:1" "$registry/blob:1"
"$IMGPACK" push -q "oci:$RIG/serve/blob:docker.io/library/blob:1" "$writer/blob:1"

wants serve-manifest && server_race 'serve: GET of a manifest, 16 clients' \
    '{"costs": [["imgpack", 20000, 40], ["docker-registry", 5000, 0]], "peaks": [["imgpack", 96]]}' \
    "imgpack||ab -q -k -n 20000 -c 16 http://$reader/v2/golang/manifests/1||$reader_pid" \
    "docker-registry||ab -q -k -n 5000 -c 16 -H 'Accept: application/vnd.oci.image.manifest.v1+json' http://$registry/v2/golang/manifests/1||$registry_pid"

cat >"$RIG/serve/get" <<'END2'
#!/bin/sh -eu
for _ in 1 2 3 4 5 6 7 8 9 10; do curl -sSf -o /dev/null "$1"; done
END2
chmod 755 "$RIG/serve/get"
wants serve-blob && server_race 'serve: GET of 200 MB, ten times' \
    '{"cpus": [["imgpack", "docker-registry", 1.1]], "costs": [["imgpack", 10, 0], ["docker-registry", 10, 0]], "peaks": [["imgpack", 96]]}' \
    "imgpack||$RIG/serve/get http://$writer/v2/blob/blobs/$large||$writer_pid" \
    "docker-registry||$RIG/serve/get http://$registry/v2/blob/blobs/$large||$registry_pid"

# Sent anew each time: the one before is deleted.
cat >"$RIG/serve/put" <<'END2'
#!/bin/sh -eu
where=$(curl -sSf -o /dev/null -w '%header{location}' -X POST "http://$1/v2/blob/blobs/uploads/")
case $where in /*) where=http://$1$where ;; esac
case $where in *\?*) where="$where&" ;; *) where="$where?" ;; esac
exec curl -sSf -H 'Content-Type: application/octet-stream' -T "$2" "${where}digest=$3"
END2
chmod 755 "$RIG/serve/put"
wants serve-push && server_race 'serve: PUT of 200 MB, hashed' \
    '{"bars": [["imgpack", "docker-registry", 0.5]], "limits": [["imgpack", 0.5]], "peaks": [["imgpack", 96]]}' \
    "imgpack|curl -sf -X DELETE http://$writer/v2/blob/blobs/$large|$RIG/serve/put $writer $RIG/serve/blob/blobs/sha256/${large#*:} $large||$writer_pid" \
    "docker-registry|curl -sf -X DELETE http://$registry/v2/blob/blobs/$large|$RIG/serve/put $registry $RIG/serve/blob/blobs/sha256/${large#*:} $large||$registry_pid"

if wants serve-crowd; then
    layer=$(curl -sSf "http://$reader/v2/golang/manifests/1" | python3 -c 'import json,sys; print(max(json.load(sys.stdin)["layers"], key=lambda l: l["size"])["digest"])')
    part='Range: bytes=5000000-9999999'
    server_race 'serve: 256 clients, 5 MB of a blob each' '{"peaks": [["imgpack", 96]]}' \
        "imgpack||ab -q -k -n 512 -c 256 -H '$part' http://$reader/v2/golang/blobs/$layer||$reader_pid" \
        "docker-registry||ab -q -k -n 512 -c 256 -H '$part' http://$registry/v2/golang/blobs/$layer||$registry_pid"
fi
