# shellcheck shell=bash
# Sourced by run: what the engines write is loaded by imgpack with the same ID, from files and pipes.

# reads_back WHAT FILE: the IDs in FILE, read without imgpack, are those of its way through the store.
reads_back() {
    if union "$2" "$RIG/back.tar" >"$RIG/log" 2>&1; then
        same "$label imgpack load of $1" "$(archive ids "$2")" "$(archive ids "$RIG/back.tar")"
    else
        fail "$label imgpack load of $1"
        tail -n 4 "$RIG/log" | sed 's/^/        /'
    fi
    rm -f "$2" "$RIG/back.tar"
}

from_docker() { # STORE NAME
    docker_at "$1" save -o "$RIG/out.tar" "$2:1"
    reads_back "docker save ($1) $2" "$RIG/out.tar"
    check "$label docker save ($1) | imgpack load $2" docker_to_imgpack "$1" "$2"
    check "$label imgpack save | docker load ($1) $2" imgpack_to_docker "$1" "$2"
}
docker_to_imgpack() {
    rm -rf "$RIG/store"
    docker_at "$1" save "$2:1" | "$IMGPACK" --store "$RIG/store" load || return 1
    "$IMGPACK" --store "$RIG/store" save -f -o "$RIG/piped.tar" "$2:1" || return 1
    [ "$(archive ids "$RIG/piped.tar")" = "$known" ]
}
imgpack_to_docker() {
    local id
    id=$(docker_at "$1" image inspect --format '{{.Id}}' "$2:1")
    docker_at "$1" image prune -a -f >/dev/null
    "$IMGPACK" --store "$RIG/store" save "$2:1" | docker_at "$1" load || return 1
    [ "$(docker_at "$1" image inspect --format '{{.Id}}' "$2:1")" = "$id" ]
}

for name in $real; do
    source=$bench/$name.docker.tar
    known=$(archive ids "$source")
    for store in $stores; do
        docker_at "$store" load -q -i "$source" >/dev/null
        from_docker "$store" "$name"
    done
    podman load -q -i "$source" >/dev/null 2>&1
    for format in docker-archive oci-archive; do
        podman save -q --format $format -o "$RIG/out.tar" "localhost/$name:1"
        reads_back "podman save --format $format $name" "$RIG/out.tar"
    done
    for format in docker-archive oci-archive; do
        skopeo copy -q "docker-archive:$source" "$format:$RIG/out.tar:$name:1"
        reads_back "skopeo copy $format: $name" "$RIG/out.tar"
    done
    ctr_at ctr images import "$source" >/dev/null
    ctr_at ctr images export "$RIG/out.tar" "docker.io/library/$name:1" >/dev/null
    reads_back "ctr images export $name" "$RIG/out.tar"
    empty_engines
done
if [ -n "$fixtures" ]; then # several images in one archive, as docker saves them
    for store in $stores; do
        docker_at "$store" load -q -i "$fixtures/docker25-hybrid/docker28gd-save-multi.tar" >/dev/null
        docker_at "$store" save -o "$RIG/out.tar" fx/tiny:1.0 fx/tiny:latest fx/wh:1.0 fx/dups:1.0
        reads_back "docker save ($store) of four names" "$RIG/out.tar"
    done
    empty_engines
fi
