# shellcheck shell=bash
# Sourced by run: what save --for lets through, the engine loads; what it refuses, the engines of Debian refuse too.

# agrees ENGINE ENDING IMAGES COMMAND…: COMMAND, given ARCHIVE, loads it if and only if --for ENGINE writes it.
# Newer versions of an engine may take more.
# shellcheck disable=SC2086
agrees() {
    local engine=$1 archive=$RIG/limits.$2 image=$3 status=0; shift 3
    rm -f "$archive"
    at_limits save --for "$engine" -o "$archive" $image || status=$?
    case $status in
    0) "$@" "$archive" ;;
    8)
        [ ! -e "$archive" ] || { echo "$archive was written"; return 1; }
        [ "$label" = debian ] || return 0
        at_limits save -o "$archive" $image && ! "$@" "$archive"
        ;;
    *) return 1 ;;
    esac
}
at_limits() { "$IMGPACK" --store "$RIG/limits" "$@"; } # ARG…

python3 "$lib/images.py" layout "$RIG/flat" fx/flat:1 amd64
for count in 125 126; do python3 "$lib/images.py" deep "$RIG/deep$count.tar" "fx/deep:$count" "$count"; done
at_limits load -q -i "$RIG/flat"
for count in 125 126; do at_limits load -q -i "$RIG/deep$count.tar"; done

docker=docker
[ "$docker_version" -ge 23 ] || docker=docker20
for ending in tar tar.gz tar.zst; do
    for store in $stores; do
        check "$label save --for $docker -o .$ending agrees with docker ($store)" agrees $docker $ending fx/flat:1 docker_at "$store" load -q -i
    done
    check "$label save --for podman -o .$ending agrees with podman" agrees podman $ending fx/flat:1 podman load -q -i
    check "$label save --for podman -o .$ending of two images agrees with podman" agrees podman $ending "fx/flat:1 fx/deep:125" podman load -q -i
    check "$label save --for containerd -o .$ending agrees with ctr" agrees containerd $ending fx/flat:1 ctr_at ctr images import
done
for count in 125 126; do
    check "$label save --for $docker of $count layers agrees with docker (gd)" agrees $docker tar "fx/deep:$count" docker_at gd load -q -i
    check "$label save --for podman of $count layers agrees with podman" agrees podman tar "fx/deep:$count" podman load -q -i
    check "$label save --for containerd of $count layers agrees with ctr" agrees containerd tar "fx/deep:$count" ctr_at ctr images import
done
empty_engines
