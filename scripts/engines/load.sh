# shellcheck shell=bash
# Sourced by run: the union archives that imgpack writes are loaded by every engine with the same ID.

# union FILE OUT [OPTION…]: FILE into a fresh store, everything in it out again as a union archive.
union() {
    local file=$1 out=$2 refs; shift 2
    rm -rf "$RIG/store" "$out"
    if [ -d "$file" ]; then # an OCI archive is the tar of its layout
        tar -C "$file" -cf "$RIG/layout.tar" . || return 1
        file=$RIG/layout.tar
    fi
    "$IMGPACK" --store "$RIG/store" load -i "$file" >"$RIG/loaded" || return 1
    refs=$(sed -n 's/^Loaded image: //p; s/^Loaded image ID: //p' "$RIG/loaded")
    [ -n "$refs" ] || { echo "load printed no image"; return 1; }
    case "$*" in *containerd*) refs=$(named "$refs") ;; esac
    # shellcheck disable=SC2086
    "$IMGPACK" --store "$RIG/store" save -f "$@" -o "$out" $refs
}

# named REFS: the same with a name for each bare ID, which containerd needs.
named() {
    local ref
    for ref in $1; do
        case $ref in
        sha256:*)
            "$IMGPACK" --store "$RIG/store" tag "$ref" "unnamed/$(echo "$ref" | cut -c 8-19):1" || return 1
            echo "unnamed/$(echo "$ref" | cut -c 8-19):1"
            ;;
        *) echo "$ref" ;;
        esac
    done
}

# for_engine ENGINE FILE OUT: the archive as this engine needs it; layers in other codecs than gzip
# are not for every engine, which is what --for is about. Prints the archive to use.
for_engine() {
    if [ -z "$odd" ]; then echo "$RIG/union.tar"; return; fi
    union "$2" "$3" --for "$1" >&2 && echo "$3"
}

docker_loads() { # STORE FILE: every image of manifest.json by ID, or with containerd's store by name
    local store=$1 archive image name rest
    local engine=docker
    [ "$docker_version" -ge 23 ] || engine=docker20
    archive=$(for_engine $engine "$2" "$RIG/for-docker.tar") || return 1
    docker_at "$store" load -q -i "$archive" || return 1
    if [ "$store" = gd ]; then
        archive docker "$archive" | while IFS='|' read -r image rest; do
            docker_at gd image inspect --format '{{.Id}}' "$image" || return 1
        done
    else
        archive index "$archive" | while IFS='|' read -r image name rest; do
            [ "$(docker_at cs image inspect --format '{{.Id}}' "${name:-$image}")" = "$image" ] ||
                { echo "${name:-$image} is not $image"; return 1; }
        done
    fi
}

podman_loads() { # FILE: every image of manifest.json; of an archive with one index, its own platform
    local archive image rest have
    archive=$(for_engine podman "$1" "$RIG/for-podman.tar") || return 1
    podman load -q -i "$archive" || return 1
    have=$(podman images -a --no-trunc --format '{{.ID}}')
    if [ "$(archive index "$archive" | wc -l)" = 1 ]; then
        archive docker "$archive" | cut -d '|' -f 1 | grep -qxF "$have"
    else
        archive docker "$archive" | while IFS='|' read -r image rest; do
            echo "$have" | grep -qxF "$image" || { echo "no $image in: $have"; return 1; }
        done
    fi
}

# Each image through docker-archive:. Through oci-archive: the sole entry, and each unambiguous name of an
# OCI manifest; skopeo 1.9 finds no name of an entry with Docker's media type ("no descriptor found").
skopeo_reads() { # FILE
    local archive n=0 image names rest
    archive=$(for_engine podman "$1" "$RIG/for-podman.tar") || return 1
    archive docker "$archive" | while IFS='|' read -r image names rest; do
        names=${names%%,*}
        skopeo_id "docker-archive:$archive:${names:-@$n}" | grep -xF "$image" || return 1
        n=$((n + 1))
    done || return 1
    archive ids "$archive" >"$RIG/ids"
    if [ "$(archive index "$archive" | wc -l)" = 1 ]; then
        skopeo_id "oci-archive:$archive" | grep -xFf "$RIG/ids" || return 1
    fi
    archive index "$archive" | grep oci | cut -d '|' -f 3 | sort | uniq -u | grep . | while read -r names; do
        skopeo_id "oci-archive:$archive:$names" | grep -xFf "$RIG/ids" || return 1
    done
}
skopeo_id() { # PLACE: the image ID that skopeo sees there
    rm -rf "$RIG/dir"
    skopeo copy -q "$1" "dir:$RIG/dir" </dev/null || return 1
    archive dirconfig "$RIG/dir"
}

ctr_imports() { # FILE: every named entry of index.json under its full name with its digest
    local archive image name rest have
    archive=$(for_engine containerd "$1" "$RIG/for-ctr.tar") || return 1
    if [ -n "$host" ]; then ctr_at ctr images import "$archive"; else ctr_at ctr images import --no-unpack --all-platforms "$archive"; fi || return 1
    have=$(ctr_at ctr images ls | awk '{print $3, $1}')
    archive index "$archive" | while IFS='|' read -r image name rest; do
        [ -z "$name" ] || echo "$have" | grep -qxF "$image $name" || { echo "no $image $name in: $have"; return 1; }
    done
}

# loads_everywhere WHAT FILE IDS: IDS, comma separated, is what the archive is known to hold.
loads_everywhere() {
    local what=$1 file=$2 known=$3 store id
    if ! union "$file" "$RIG/union.tar" >"$RIG/log" 2>&1; then
        fail "$label imgpack load and save $what"
        tail -n 4 "$RIG/log" | sed 's/^/        /'
        return 0
    fi
    for id in $(archive ids "$RIG/union.tar"); do
        case ",$known," in *",$id,"*) ;; *) fail "$label imgpack save $what: unknown ID $id"; return 0 ;; esac
    done
    odd=$(archive odd "$RIG/union.tar")
    host=$(archive docker "$RIG/union.tar" | cut -d '|' -f 3 | grep -x 'linux/\(amd64\)\?' || :)
    for store in $into; do check "$label docker load ($store) $what" docker_loads "$store" "$file"; done
    [ -z "$host" ] || check "$label podman load $what" podman_loads "$file"
    [ -z "$host" ] || check "$label skopeo copy $what" skopeo_reads "$file"
    check "$label ctr import $what" ctr_imports "$file"
}

if [ -n "$fixtures" ]; then
    archive fixtures "$fixtures/expected.json" >"$RIG/fixtures"
    while IFS='|' read -r file ids <&3; do
        loads_everywhere "$file" "$fixtures/$file" "$ids"
        empty_engines
    done 3<"$RIG/fixtures"
fi
for name in $real; do
    loads_everywhere "$name" "$bench/$name.docker.tar" "$(archive ids "$bench/$name.docker.tar")"
    if [ "$name" = nginx ]; then
        for store in $into; do
            check "$label docker run ($store): nginx answers" serves_http docker_at "$store" run -d --network host nginx:1
        done
        check "$label podman run: nginx answers" serves_http podman run -d --network host --cgroup-parent "/${RIG##*/}" nginx:1
    fi
    empty_engines
done
