# shellcheck shell=bash
# Sourced by run: the engines as places: docker-daemon:, podman:, containerd:, in and out, sound and failing.

at_engines() { # ARG…: imgpack with the engines of the rig
    "$IMGPACK" --store "$RIG/store" --containerd-address "$RIG/ctr/containerd.sock" "$@"
}
at_docker() { # STORE ARG…
    local store=$1; shift
    at_engines --docker-host "unix://$RIG/$store/docker.sock" "$@"
}

# shown PLACE [STORE]: the IDs and digests that imgpack sees there.
shown() { at_docker "${2:-gd}" ls --no-trunc --format '{{.ID}} {{.Manifest}} {{.Name}}' "$1"; }

# arrives WHAT IDS PLACE [STORE]: the image IDs at PLACE are IDS.
arrives() { same "$label $1" "$2" "$(shown "$3" "${4:-gd}" | cut -d ' ' -f 1 | sort -u | paste -sd ,)"; }

# fails WANTED TEXT COMMAND…: COMMAND ends with exit code WANTED and one line with TEXT, and leaves nothing.
fails() {
    local wanted=$1 text=$2 status=0; shift 2
    "$@" >"$RIG/said" 2>&1 || status=$?
    cat "$RIG/said"
    [ "$status" = "$wanted" ] || { echo "exit code $status, not $wanted"; return 1; }
    grep -q "^imgpack: .*$text" "$RIG/said" || { echo "no line with: $text"; return 1; }
    [ "$(grep -c '^imgpack: ' "$RIG/said")" = 1 ] || { echo "more than one line"; return 1; }
    nothing_left
}
nothing_left() {
    [ -z "$(ls -A "$TMPDIR" | grep '^\.imgpack' || :)" ] || { ls -A "$TMPDIR"; return 1; }
    ! pgrep -f 'podman (save|load)|ctr .*images (import|export)' || { ps ax; return 1; }
}

# stopped SIGNAL CODE COMMAND…: COMMAND, sent SIGNAL in the middle, ends with CODE and leaves nothing.
stopped() {
    local signal=$1 wanted=$2 status=0 pid; shift 2
    "$@" >"$RIG/said" 2>&1 &
    pid=$!
    sleep 0.6
    kill "-$signal" "$pid" || { cat "$RIG/said"; echo "it had ended before"; return 1; }
    wait "$pid" || status=$?
    cat "$RIG/said"
    [ "$status" = "$wanted" ] || { echo "exit code $status, not $wanted"; return 1; }
    nothing_left
}

# An index of two platforms, neither of them this machine's, with a name; and one without a name.
python3 - "$RIG/foreign" <<'END'
import hashlib, io, json, os, sys, tarfile
root = sys.argv[1]
os.makedirs(root + '/blobs/sha256')
def blob(data, kind, **more):
    digest = hashlib.sha256(data).hexdigest()
    open(f'{root}/blobs/sha256/{digest}', 'wb').write(data)
    return {'mediaType': f'application/vnd.oci.image.{kind}', 'digest': 'sha256:' + digest, 'size': len(data), **more}
def image(cpu):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        tar.addfile(tarfile.TarInfo(cpu))
    layer = blob(out.getvalue(), 'layer.v1.tar')
    config = {'architecture': cpu, 'os': 'linux', 'rootfs': {'type': 'layers', 'diff_ids': [layer['digest']]}, 'config': {}}
    manifest = {'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.manifest.v1+json',
                'config': blob(json.dumps(config).encode(), 'config.v1+json'), 'layers': [layer]}
    return blob(json.dumps(manifest).encode(), 'manifest.v1+json', platform={'os': 'linux', 'architecture': cpu})
index = {'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.index.v1+json', 'manifests': [image('s390x'), image('riscv64')]}
entry = blob(json.dumps(index).encode(), 'index.v1+json', annotations={'io.containerd.image.name': 'docker.io/fx/foreign:1'})
json.dump({'schemaVersion': 2, 'manifests': [entry]}, open(root + '/index.json', 'w'))
json.dump({'schemaVersion': 2, 'manifests': [image('amd64')]}, open(root + '/unnamed.json', 'w'))
open(root + '/oci-layout', 'w').write('{"imageLayoutVersion":"1.0.0"}')
END
cp -r "$RIG/foreign" "$RIG/unnamed"
mv "$RIG/unnamed/unnamed.json" "$RIG/unnamed/index.json"

empty_engines
for name in $real; do
    source=$bench/$name.docker.tar
    known=$(archive ids "$source")
    for store in $stores; do
        check "$label load --into docker-daemon: ($store) $name" at_docker "$store" load -i "$source" --into docker-daemon:
        arrives "docker-daemon: ($store) shows $name" "$known" "docker-daemon:$name:1" "$store"
        check "$label copy docker-daemon: ($store) oci: $name" at_docker "$store" copy "docker-daemon:$name:1" "oci:$RIG/oci-$store-$name"
        arrives "oci: holds what docker-daemon: ($store) gave: $name" "$known" "oci:$RIG/oci-$store-$name"
        check "$label save docker-daemon: ($store) $name" at_docker "$store" save -f -o "$RIG/out.tar" "docker-daemon:$name:1"
        same "$label save docker-daemon: ($store) $name: IDs" "$known" "$(archive ids "$RIG/out.tar")"
    done
    check "$label copy docker-daemon: podman: $name" at_docker gd copy "docker-daemon:$name:1" podman:
    arrives "podman: shows $name" "$known" "podman:$name:1"
    same "$label podman has $name by that ID" "sha256:${known#sha256:}" \
        "sha256:$(podman image inspect --format '{{.Id}}' "docker.io/library/$name:1")"
    check "$label copy podman: containerd: $name" at_engines copy "podman:$name:1" containerd:
    arrives "containerd: shows $name" "$known" "containerd:$name:1"
    check "$label copy containerd: containers-storage: $name" at_engines copy "containerd:$name:1" containers-storage:again:1
    arrives "podman: shows again:1" "$known" podman:docker.io/library/again:1
    for engine in docker-daemon podman containerd; do
        check "$label verify all of $engine:" at_docker gd verify "$engine:"
    done
done

if [ -n "$real" ]; then
    source=$bench/nginx.docker.tar
    [ ! -e "$bench/golang.docker.tar" ] || source=$bench/golang.docker.tar
    name=$(basename "$source" .docker.tar)
    check "$label Ctrl-C while docker takes an archive" stopped INT 130 at_docker gd load -i "$source" --tag a:1 --into docker-daemon:
    check "$label Ctrl-C while podman takes an archive" stopped INT 130 at_engines load -i "$source" --tag a:1 --into podman:
    check "$label SIGTERM while containerd takes an archive" stopped TERM 143 at_engines load -i "$source" --tag a:1 --into containerd:
    check "$label Ctrl-C while docker gives an archive" stopped INT 130 at_docker gd ls "docker-daemon:$name:1"
    check "$label Ctrl-C while podman gives an archive" stopped INT 130 at_engines ls "podman:$name:1"
    check "$label SIGTERM while containerd gives an archive" stopped TERM 143 at_engines ls "containerd:$name:1"
fi

no_half_images() { ! { shown docker-daemon:; shown podman:; shown containerd:; } | grep ' a:1$'; }
check "$label no half image is left in any engine" no_half_images

check "$label containerd takes foreign platforms" at_engines copy "oci:$RIG/foreign" containerd:
same "$label containerd has the index as it is" "$(shown "oci:$RIG/foreign" | cut -d ' ' -f 2)" "$(shown containerd:fx/foreign:1 | cut -d ' ' -f 2)"
check "$label containerd takes nothing without a name" fails 8 'has no name' at_engines copy "oci:$RIG/unnamed" containerd:
check "$label podman takes an image without a name" at_engines copy "oci:$RIG/unnamed" podman:
for engine in docker-daemon podman containerd; do
    check "$label $engine: an image that is not there" fails 4 'nope:1' at_docker gd ls "$engine:nope:1"
done
check "$label no socket of docker" fails 5 'no engine at' at_engines --docker-host "unix://$RIG/none.sock" ls docker-daemon:
check "$label no socket of containerd" fails 5 'no containerd at' at_engines --containerd-address "$RIG/none.sock" ls containerd:
check "$label no podman" fails 4 'podman is not installed' env PATH=/nonexistent "$IMGPACK" --store "$RIG/store" ls podman:

engine_dies() { # the engine is killed in the middle: one line, exit code 5, nothing left
    start_dockerd dying || return 1
    docker_at dying load -q -i "$source" || return 1
    ("$IMGPACK" --docker-host "unix://$RIG/dying/docker.sock" ls "docker-daemon:$name:1"; echo "exit $?") >"$RIG/said" 2>&1 &
    local pid=$!
    sleep 0.6
    kill -KILL "$(cat "$RIG/dying/started")"
    wait "$pid"
    cat "$RIG/said"
    grep -q '^exit 5$' "$RIG/said" && [ "$(grep -c '^imgpack: ' "$RIG/said")" = 1 ] && nothing_left
}
[ -z "$real" ] || check "$label docker is killed while it gives an archive" engine_dies
empty_engines
