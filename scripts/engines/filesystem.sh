# shellcheck shell=bash
# Sourced by run: import and export agree with docker's.

import_agrees() { # ROOTFS.tar CHANGE…
    local tar=$1 change; shift
    local changes=()
    for change; do changes+=(-c "$change"); done
    rm -rf "$RIG/store"
    docker_at gd import -m "from a test" "${changes[@]}" "$tar" imported:1 || return 1
    docker_at gd save -o "$RIG/docker.tar" imported:1 || return 1
    "$IMGPACK" --store "$RIG/store" import -m "from a test" "${changes[@]}" "$tar" imported:1 || return 1
    "$IMGPACK" --store "$RIG/store" save -f -o "$RIG/imgpack.tar" imported:1 || return 1
    archive config "$RIG/docker.tar" >"$RIG/docker.json"
    archive config "$RIG/imgpack.tar" >"$RIG/imgpack.json"
    diff "$RIG/docker.json" "$RIG/imgpack.json"
}

export_agrees() { # IMAGE.tar NAME
    local container
    docker_at gd load -q -i "$1" >/dev/null || return 1
    container=$(docker_at gd create "$2" true) || return 1
    docker_at gd export -o "$RIG/docker.tar" "$container" || return 1
    docker_at gd rm "$container" >/dev/null
    "$IMGPACK" export -f -o "$RIG/imgpack.tar" "$1" || return 1
    archive trees "$RIG/docker.tar" "$RIG/imgpack.tar"
}

rootfs=$RIG/rootfs.tar
mkdir -p "$RIG/rootfs/etc" "$RIG/rootfs/bin"
echo 'ID=test' >"$RIG/rootfs/etc/os-release"
cp /bin/true "$RIG/rootfs/bin/true"
ln "$RIG/rootfs/bin/true" "$RIG/rootfs/bin/also-true"
ln -s true "$RIG/rootfs/bin/link"
tar -C "$RIG/rootfs" -cf "$rootfs" .
check "$label import: no change" import_agrees "$rootfs"
check "$label import: CMD" import_agrees "$rootfs" 'CMD ["/bin/true", "a b"]'
check "$label import: shell forms" import_agrees "$rootfs" 'CMD echo a  "b c"' 'ENTRYPOINT run it'
check "$label import: ENV, WORKDIR, USER, LABEL" import_agrees "$rootfs" 'ENV A=b C="d e" F=$A' 'WORKDIR /srv' 'USER 1:2' 'LABEL x=y "k z"=v'
check "$label import: EXPOSE, VOLUME, ONBUILD" import_agrees "$rootfs" 'EXPOSE 80 53/udp' 'VOLUME /data /more' 'ONBUILD RUN true'
check "$label import: HEALTHCHECK" import_agrees "$rootfs" 'HEALTHCHECK --interval=5s --retries=2 CMD true'
[ "$docker_version" -lt 23 ] || check "$label import: STOPSIGNAL" import_agrees "$rootfs" 'STOPSIGNAL SIGINT'
gzip -k "$rootfs"
check "$label import: gzip" import_agrees "$rootfs.gz" 'CMD ["/bin/true"]'
for name in $real; do
    [ "$name" = nginx ] || continue
    check "$label export $name" export_agrees "$bench/$name.docker.tar" "$name:1"
done
[ -z "$fixtures" ] || for file in docker-archive/rules_docker-overwritten-file.tar docker-archive/scalibr-basic.tar; do
    name=$(archive docker "$fixtures/$file" | cut -d '|' -f 2 | cut -d , -f 1)
    [ -z "$name" ] || check "$label export $file" export_agrees "$fixtures/$file" "$name"
done
empty_engines
