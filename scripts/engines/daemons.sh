# shellcheck shell=bash
# Sourced by run: the engines as places: docker-daemon:, podman:, containerd:, in and out, sound and failing.

export CONTAINERD_ADDRESS=$RIG/ctr/containerd.sock DOCKER_HOST=unix://$RIG/gd/docker.sock
at_engines() { "$IMGPACK" --store "$RIG/store" "$@"; } # ARG…
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

# begun ARG…: starts imgpack and waits until it has moved 16 MiB, so that it is in the middle; its
# number is $running.
begun() {
    local tries=0 moved=0
    "$IMGPACK" --store "$RIG/store" "$@" >"$RIG/said" 2>&1 &
    running=$!
    until [ "$moved" -gt 16777216 ]; do
        moved=$(sed -n 's/^wchar: //p' "/proc/$running/io" 2>/dev/null)
        tries=$((tries + 1))
        [ -n "$moved" ] && [ "$tries" -lt 3000 ] || { cat "$RIG/said"; echo "it never was in the middle"; return 1; }
        sleep 0.01
    done
}

# over CODE: waits for what was begun; it ended with CODE and left nothing.
over() {
    local status=0
    wait "$running" || status=$?
    cat "$RIG/said"
    [ "$status" = "$1" ] || { echo "exit code $status, not $1"; return 1; }
    nothing_left
}

# stopped SIGNAL CODE ARG…: imgpack, sent SIGNAL in the middle, ends with CODE and leaves nothing.
stopped() {
    local signal=$1 wanted=$2; shift 2
    begun "$@" || return 1
    kill "-$signal" "$running" || return 1
    over "$wanted"
}

# other_side_dies TEXT PID-COMMAND ARG…: what PID-COMMAND names is killed in the middle; imgpack says so in
# one line with TEXT.
other_side_dies() {
    local text=$1 victim=$2 pid; shift 2
    begun "$@" || return 1
    pid=$($victim) || { echo "$victim: nothing to kill"; return 1; }
    kill -KILL "$pid" || return 1
    over 5 || return 1
    grep -q "^imgpack: .*$text" "$RIG/said" || { echo "no line with: $text"; return 1; }
    [ "$(grep -c '^imgpack: ' "$RIG/said")" = 1 ] || { echo "more than one line"; return 1; }
}
its_program() { pgrep -P "$running" 'podman|ctr'; }
its_dockerd() { cat "$RIG/dying/started"; }

python3 "$lib/images.py" layout "$RIG/foreign" fx/foreign:1 s390x riscv64 # none of them this machine's
python3 "$lib/images.py" layout "$RIG/sparse" fx/sparse:1 amd64 arm
python3 "$lib/images.py" layout "$RIG/part" fx/part:1 ppc64le mips64le
cp -r "$RIG/foreign" "$RIG/unnamed"
mv "$RIG/unnamed/unnamed.json" "$RIG/unnamed/index.json"

empty_engines
for name in $real; do
    [ "$name" = nginx ] || continue
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
    docker_at gd load -q -i "$source" >/dev/null
    podman load -q -i "$source" >/dev/null 2>&1
    ctr_at ctr images import --no-unpack "$source" >/dev/null
    check "$label Ctrl-C while docker takes an archive" stopped INT 130 load -i "$source" --tag a:1 --into docker-daemon:
    check "$label Ctrl-C while podman takes an archive" stopped INT 130 load -i "$source" --tag a:1 --into podman:
    check "$label SIGTERM while containerd takes an archive" stopped TERM 143 load -i "$source" --tag a:1 --into containerd:
    check "$label Ctrl-C while docker gives an archive" stopped INT 130 ls "docker-daemon:$name:1"
    check "$label Ctrl-C while podman gives an archive" stopped INT 130 ls "podman:$name:1"
    check "$label SIGTERM while containerd gives an archive" stopped TERM 143 ls "containerd:$name:1"
fi

no_half_images() { ! { shown docker-daemon:; shown podman:; shown containerd:; } | grep ' a:1$'; }
check "$label no half image is left in any engine" no_half_images

check "$label containerd takes foreign platforms" at_engines copy "oci:$RIG/foreign" containerd:
check "$label containerd takes an index with its own platform" at_engines copy "oci:$RIG/sparse" containerd:
same "$label containerd has the index as it is" "$(shown "oci:$RIG/foreign" | cut -d ' ' -f 2)" "$(shown containerd:fx/foreign:1 | cut -d ' ' -f 2)"
check "$label containerd gives an index of other machines whole" at_engines verify containerd:fx/foreign:1
same "$label containerd gives indexes of this machine and of others at once" fx/foreign:1,fx/sparse:1 \
    "$(shown containerd:fx/foreign:1,fx/sparse:1 | cut -d ' ' -f 3 | sort -u | paste -sd ,)"
a_part_is_left() { # NAME PLATFORM: as after a pull for one platform
    at_engines copy "oci:$RIG/$1" containerd: || return 1
    ctr_at ctr content rm "$(cat "$RIG/$1/last")" || return 1
    at_engines verify "containerd:fx/$1:1" >"$RIG/said" 2>&1 || { cat "$RIG/said"; return 1; }
    cat "$RIG/said"
    grep -q "has only some of its platforms.*: $2\$" "$RIG/said"
}
check "$label containerd gives what is left of an index" a_part_is_left sparse linux/amd64
check "$label containerd gives what is left of an index of other machines" a_part_is_left part linux/ppc64le
check "$label containerd takes nothing without a name" fails 8 'has no name' at_engines copy "oci:$RIG/unnamed" containerd:
check "$label podman takes an image without a name" at_engines copy "oci:$RIG/unnamed" podman:
for engine in docker-daemon podman containerd; do
    check "$label $engine: an image that is not there" fails 4 'nope:1' at_docker gd ls "$engine:nope:1"
done
check "$label no socket of docker" fails 5 'no engine at' at_engines --docker-host "unix://$RIG/none.sock" ls docker-daemon:
check "$label no socket of containerd" fails 5 'no containerd at' at_engines --containerd-address "$RIG/none.sock" ls containerd:
check "$label no podman" fails 4 'podman is not installed' env PATH=/nonexistent "$IMGPACK" --store "$RIG/store" ls podman:

zstd_is_adapted() { # docker before 23 reads no zstd layer; the others get it as it is
    at_engines copy --compress zstd "oci:$RIG/unnamed" "oci:$RIG/zstd:fx/zstd:1" && at_engines copy "oci:$RIG/zstd" docker-daemon:
}
check "$label docker takes a zstd layer, or gets it as gzip" zstd_is_adapted

tls_docker() { # ARG…: imgpack with the certificates of the rig
    DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=$RIG/pki "$IMGPACK" --store "$RIG/store" --docker-host tcp://127.0.0.1:2376 "$@"
}
tls_works() {
    local pki=$RIG/pki who
    mkdir -p "$pki"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout "$pki/ca-key.pem" -out "$pki/ca.pem" || return 1
    for who in server cert; do
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout "$pki/$who-key.pem" -out "$pki/$who.csr" || return 1
        openssl x509 -req -in "$pki/$who.csr" -CA "$pki/ca.pem" -CAkey "$pki/ca-key.pem" -CAcreateserial -days 2 \
            -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$pki/$who.pem" || return 1
    done
    mv "$pki/cert-key.pem" "$pki/key.pem"
    start_dockerd tls --host tcp://127.0.0.1:2376 --tlsverify --tlscacert "$pki/ca.pem" --tlscert "$pki/server.pem" --tlskey "$pki/server-key.pem" || return 1
    tls_docker copy "oci:$RIG/unnamed" docker-daemon:fx/tls:1 && tls_docker verify docker-daemon:fx/tls:1 || return 1
    mv "$pki/cert.pem" "$pki/not-cert.pem"
    fails 5 Certificate tls_docker ls docker-daemon:
    local status=$?
    stop_dockerd tls
    return $status
}
if have openssl; then check "$label docker by TLS" tls_works; else skip "docker by TLS: no openssl"; fi

dockerd_dies() { # while it takes an archive, then, started again, while it gives one
    local host=unix://$RIG/dying/docker.sock
    start_dockerd dying || return 1
    other_side_dies 'engine' its_dockerd --docker-host "$host" load -i "$source" --tag k:1 --into docker-daemon: || return 1
    rm -f "$RIG/dying/pid" "$RIG/dying/docker.sock"
    start_dockerd dying || return 1
    [ -z "$(docker_at dying images -q)" ] || { docker_at dying images; return 1; }
    docker_at dying load -q -i "$source" || return 1
    other_side_dies "the engine's response was cut off" its_dockerd --docker-host "$host" ls "docker-daemon:$name:1"
}
podman_dies() {
    other_side_dies 'podman load: ended by signal 9' its_program load -i "$source" --tag k:1 --into podman: || return 1
    ! podman image exists k:1 || { podman images; return 1; }
    podman load -q -i "$source" || return 1
    other_side_dies 'podman save: ended by signal 9' its_program ls "podman:$name:1"
}
if [ -n "$real" ]; then
    check "$label dockerd is killed while it takes an archive, and while it gives one" dockerd_dies
    check "$label podman is killed while it takes an archive, and while it gives one" podman_dies
fi

# loaded STORE: what the engine shows of its images.
loaded() { docker_at "$1" images --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' | sort; }

# like_docker STORE FILE WANTED: imgpack makes docker hold what docker itself made of an archive.
like_docker() {
    empty_engines
    at_docker "$1" load -i "$2" --into docker-daemon: || return 1
    [ "$3" = "$(loaded "$1")" ] || { echo "docker load: $3"; echo "imgpack: $(loaded "$1")"; return 1; }
}
if [ -n "$fixtures" ]; then
    archive fixtures "$fixtures/expected.json" | cut -d '|' -f 1 | grep '^docker-archive/.*\.tar$' >"$RIG/made-here"
    while read -r file <&3; do
        for store in $into; do
            empty_engines
            # What docker itself does not load has nothing to be compared with.
            docker_at "$store" load -q -i "$fixtures/$file" >"$RIG/said" 2>&1 || { say "docker itself ($store) does not load $file: $(tail -n 1 "$RIG/said")"; continue; }
            check "$label load --into docker-daemon: ($store) as docker load: $file" like_docker "$store" "$fixtures/$file" "$(loaded "$store")"
        done
    done 3<"$RIG/made-here"
fi
empty_engines
