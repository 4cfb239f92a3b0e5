# shellcheck shell=bash
# Sourced by bench: the jobs against Debian's docker-registry on loopback, a fresh storage for whatever is
# sent. The registry is nobody's side: its CPU and memory are not counted, but it runs on the same cores.

. "$here/lib/registry.sh"
mkdir -p "$RIG/reg" "$RIG/sync"
start_registry "$RIG/reg"
RIG_PIDS="$RIG_PIDS $REGISTRY_PID"
empty="rm -rf $RIG/reg/data/docker && $fresh" # it keeps nothing in memory
work=$RIG/sync
ten=$dir/ten.oci
peak=$((64 + 16 * 8)) # MiB: 8 jobs are the default
plain="--insecure-policy"

# The ten images by name, the same list for imgpack and skopeo.
names=$(python3 -c 'import json,sys; print(*[i["name"] for i in json.load(open(sys.argv[1]))])' "$dir/work/ten.docker.tar.json")
{
    printf '%s:\n  tls-verify: false\n  images:\n' "$REGISTRY"
    for name in $names; do printf '    library/%s: ["%s"]\n' "${name%:*}" "${name#*:}"; done
} >"$work/sync.yml"
fill() { # the registry with all ten
    local name
    for name in $names; do
        skopeo $plain copy -q --dest-tls-verify=false "oci:$ten:$name" "docker://$REGISTRY/library/$name"
    done
}

# What curl does with one blob: monolithic, as the specification has it, and without looking at a byte.
cat >"$work/put" <<'END'
#!/bin/sh -eu
where=$(curl -sSf -o /dev/null -w '%header{location}' -X POST "$2/blobs/uploads/")
exec curl -sSf -H 'Content-Type: application/octet-stream' -T "$1" "$where&digest=sha256:${1##*/}"
END
chmod 755 "$work/put"
cat >"$work/curl-all" <<END
#!/bin/sh -eu
ls $ten/blobs/sha256/* | xargs -P 8 -I{} $work/put {} http://$REGISTRY/v2/library/all
END
chmod 755 "$work/curl-all"

wants push && race 'push golang from a layout' \
    "{\"wires\": [[\"imgpack\", \"skopeo\", 1.01]], \"bars\": [[\"imgpack, layers not unpacked\", \"skopeo\", 1.0]],
      \"peaks\": [[\"imgpack\", $peak]]}" \
    "imgpack|$empty|$IMGPACK push -q oci:$dir/golang.oci $REGISTRY/golang:1||" \
    "imgpack, layers not unpacked|$empty|$IMGPACK push -q --no-unpack-check oci:$dir/golang.oci $REGISTRY/golang:1||" \
    "skopeo|$empty|skopeo $plain copy -q --dest-tls-verify=false oci:$dir/golang.oci docker://$REGISTRY/golang:1||"

wants push-docker && race 'push golang from a docker archive' \
    "{\"bars\": [[\"imgpack\", \"imgpack copy, gzip\", 1.3], [\"imgpack\", \"skopeo\", 1.0]], \"peaks\": [[\"imgpack\", $peak]]}" \
    "imgpack|$empty|$IMGPACK push -q docker-archive:$dir/golang.docker.tar $REGISTRY/golang:1||" \
    "imgpack copy, gzip|$fresh|$IMGPACK copy --compress gzip docker-archive:$dir/golang.docker.tar oci:$out/a||" \
    "skopeo|$empty|skopeo $plain copy -q --dest-tls-verify=false docker-archive:$dir/golang.docker.tar docker://$REGISTRY/golang:1||"

if wants pull; then
    rm -rf "$RIG/reg/data/docker"
    skopeo $plain copy -q --dest-tls-verify=false "oci:$dir/golang.oci" "docker://$REGISTRY/golang:1"
    race 'pull golang into the store, a layout' \
        "{\"bars\": [[\"imgpack, layers not unpacked\", \"skopeo\", 1.0]], \"peaks\": [[\"imgpack\", $peak]]}" \
        "imgpack|rm -rf $store|$IMGPACK --store $store pull -q $REGISTRY/golang:1||" \
        "imgpack, layers not unpacked|rm -rf $store|$IMGPACK --store $store pull -q --no-unpack-check $REGISTRY/golang:1||" \
        "skopeo|$fresh|skopeo $plain copy -q --src-tls-verify=false docker://$REGISTRY/golang:1 oci:$out/a||"
fi

if wants sync-in; then # skopeo gets what skopeo sync has written
    fill
    skopeo $plain sync --src yaml --dest dir --scoped "$work/sync.yml" "$work/dir" >/dev/null 2>&1
    race 'sync dir-to-registry, ten images' \
        "{\"bars\": [[\"imgpack\", \"curl\", 1.15]], \"wires\": [[\"imgpack\", \"curl\", 1.01]],
          \"peaks\": [[\"imgpack\", $peak]]}" \
        "imgpack|$empty|$IMGPACK sync dir-to-registry -q $ten $REGISTRY||" \
        "curl|$empty|$work/curl-all||" \
        "skopeo sync|$empty|skopeo $plain sync --src dir --dest docker --dest-tls-verify=false $work/dir/$REGISTRY/library $REGISTRY/library||"
fi

if wants sync-out; then
    rm -rf "$RIG/reg/data/docker"
    fill
    race 'sync registry-to-dir, ten images' \
        "{\"bars\": [[\"imgpack\", \"skopeo sync\", 0.5]], \"peaks\": [[\"imgpack\", $peak]]}" \
        "imgpack|$fresh|$IMGPACK sync registry-to-dir -q -f $work/sync.yml $out/a|$out/a|" \
        "imgpack, layers unpacked|$fresh|$IMGPACK sync registry-to-dir -q --unpack-check -f $work/sync.yml $out/a|$out/a|" \
        "skopeo sync|$fresh|skopeo $plain sync --src yaml --dest dir --scoped $work/sync.yml $out/a|$out/a|"
fi

if wants repeat && [ -n "$IMGPACK" ]; then
    rm -rf "$RIG/reg/data/docker"
    "$IMGPACK" sync dir-to-registry -q "$ten" "$REGISTRY"
    "$IMGPACK" sync registry-to-dir -q -f "$work/sync.yml" "$work/repeat"
    "$IMGPACK" sync archive-to-registry -q "$dir/ten.docker.tar" "$REGISTRY/docker"
    race 'sync that changes nothing, ten images' \
        '{"limits": [["imgpack dir-to-registry", 0.1], ["imgpack registry-to-dir", 0.1], ["imgpack archive-to-registry", 0.1]]}' \
        "imgpack dir-to-registry||$IMGPACK sync dir-to-registry -q $ten $REGISTRY||" \
        "imgpack registry-to-dir||$IMGPACK sync registry-to-dir -q -f $work/sync.yml $work/repeat||" \
        "imgpack archive-to-registry||$IMGPACK sync archive-to-registry -q $dir/ten.docker.tar $REGISTRY/docker||"
fi
