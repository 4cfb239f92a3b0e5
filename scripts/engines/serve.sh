# shellcheck shell=bash
# Sourced by run: `imgpack serve` before every engine. What it gives from a layout, a union archive and a
# docker archive they pull, directly and as the mirror that `--print-config` told them of; what they push
# into `--writable` comes back the same. Over http, with a certificate of its own, and with a password.

. "$lib/ways.sh"

# One address like another machine's, and loopback.
outside=10.99.0.1:5000 near=localhost:5000
settings=/etc/containerd/certs.d

# begin_serving [FLAG…] PLACE…: what is served from now on, under both addresses.
begin_serving() {
    local tries=0
    "$IMGPACK" --store "$RIG/not-served" serve --listen "$outside" --listen 127.0.0.1:5000 "${guard[@]}" "$@" >"$RIG/serve.log" 2>&1 &
    SERVE_PID=$!
    RIG_PIDS="$RIG_PIDS $SERVE_PID"
    until grep -q '^imgpack: serving ' "$RIG/serve.log"; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ] || ! kill -0 "$SERVE_PID" 2>/dev/null; then
            fail "$label $kind: imgpack serve $*"
            tail -n 5 "$RIG/serve.log"
            return 1
        fi
        sleep 0.05
    done
}
end_serving() {
    local status=0
    kill -TERM "$SERVE_PID"
    wait "$SERVE_PID" || status=$?
    same "$label $kind: the server ends in order" "0 0" "$status $(grep -c panicked "$RIG/serve.log")"
}

# printed ENGINE PLACE FILE: sends what is printed for an engine to where it belongs, as it is.
printed() {
    mkdir -p "${3%/*}"
    "$IMGPACK" serve --listen "$outside" "${guard[@]}" --print-config "$1" "$2" >"$3"
}

# The engines are told once, of everything at once; who asks for a password has two lines to fill in.
tell_engines() {
    local at
    for at in "$outside" "$near"; do
        mkdir -p "/etc/containers/certs.d/$at" "/etc/docker/certs.d/$at" "$RIG/hosts/$at"
        printf '[host."%s://%s"]\n  capabilities = ["pull", "resolve", "push"]\n' "$scheme" "$at" >"$RIG/hosts/$at/hosts.toml"
        [ "$scheme" = https ] || continue
        curl -fsk -o "/etc/containers/certs.d/$at/ca.crt" "https://$at/ca.crt" || return 1
        cp "/etc/containers/certs.d/$at/ca.crt" "/etc/docker/certs.d/$at/ca.crt"
        cp "/etc/containers/certs.d/$at/ca.crt" "$settings/imgpack-ca.crt"
        echo "  ca = \"$settings/imgpack-ca.crt\"" >>"$RIG/hosts/$at/hosts.toml"
    done
    printed containerd "$images/layout" "$settings/_default/hosts.toml" || return 1
    sed -i "s/dXNlcjpwYXNzd29yZA==/$(printf alice:s3cret | base64)/" "$settings/_default/hosts.toml"
    printed podman "$images/layout" /etc/containers/registries.conf.d/imgpack.conf || return 1
    printed docker "$images/layout" "$RIG/mirrored-$kind/daemon.json" || return 1
    start_dockerd "mirrored-$kind" || return 1
    [ -z "$login" ] || for at in "$outside" "$near"; do
        echo s3cret | at_registry login -u alice --password-stdin "$at" || return 1
    done
}

# mirrors NAME DIGEST ID: an image is pulled under the name that it has always had.
mirrors() {
    local name=$1 digest=$2 id=$3 what="$label $kind $place: $1"
    podman pull -q "$name" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$what: podman, by its mirror" "${id#sha256:}" "$(podman image inspect --format '{{.Id}}' "$name")"
    skopeo copy -q "docker://$name" "dir:$RIG/dir" 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$what: skopeo, by its mirror" "$id" "$(archive dirconfig "$RIG/dir")"
    same "$what: imgpack, by podman's mirror" "$digest" "$(at_registry copy -q "docker://$name" "oci:$RIG/by-mirror" 2>&1 && archive_index "$RIG/by-mirror")"
    ctr_at ctr images pull --hosts-dir "$settings" "$name" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$what: ctr, by _default" "$digest" "$(ctr_at ctr images ls | awk -v name="$name" '$1 == name {print $3}')"
    rm -rf "$RIG/dir" "$RIG/by-mirror"
}
mirrors_hub() { # NAME DIGEST ID: docker has mirrors for its own hub only
    local what="$label $kind $place: $1: docker, by registry-mirrors"
    docker_at "mirrored-$kind" pull -q "$1" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$what" "$3" "$(docker_at "mirrored-$kind" image inspect --format '{{.Id}}' "$1")"
    docker_at "mirrored-$kind" image prune -a -f >/dev/null
}
direct_from_outside() { # NAME ID: docker, told by the same file that this address speaks as it does
    docker_at "mirrored-$kind" pull -q "$1" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$label $kind $place: $1: docker, by its address" "$2" "$(docker_at "mirrored-$kind" image inspect --format '{{.Id}}' "$1")"
    docker_at "mirrored-$kind" image prune -a -f >/dev/null
}

# digest_in PLACE NAME: which manifest the source says that it is.
digest_in() { "$IMGPACK" ls --no-trunc --format '{{.Name}} {{.Manifest}}' "$1" | awk -v name="$2" '$1 == name || $1 == "docker.io/" name {print $2; exit}'; }

gives_place() { # PLACE, with its two images
    local hello app
    place=${1##*/}
    hello=$(digest_in "$1" fx/hello:1) app=$(digest_in "$1" quay.io/fx/app:2)
    begin_serving "$1" || return 0
    gives "$place: fx/hello" "$hello" "$hello_id" "$near/fx/hello:1"
    gives "$place: quay.io/fx/app" "$app" "$app_id" "$near/quay.io/fx/app:2"
    mirrors docker.io/fx/hello:1 "$hello" "$hello_id"
    mirrors quay.io/fx/app:2 "$app" "$app_id"
    # dockerd tells its mirrors no password
    [ -n "$login" ] || mirrors_hub fx/hello:1 "$hello" "$hello_id"
    direct_from_outside "$outside/quay.io/fx/app:2" "$app_id"
    overridden "$app"
    as_k3s "$hello" "$app"
    empty_engines
    end_serving
}
# The other way for containerd: a path in hosts.toml, beneath which one registry lies.
overridden() { # DIGEST
    local dir=$RIG/overridden/quay.io
    mkdir -p "$dir"
    sed "s|$scheme://$outside\"|$scheme://$outside/v2/quay.io\"|; s|^  capabilities|  override_path = true\n&|" "$settings/_default/hosts.toml" >"$dir/hosts.toml"
    ctr_at ctr images rm --sync quay.io/fx/app:2 >/dev/null
    ctr_at ctr images pull --hosts-dir "$RIG/overridden" quay.io/fx/app:2 >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$label $kind $place: ctr, by override_path" "$1" "$(ctr_at ctr images ls | awk '$1 == "quay.io/fx/app:2" {print $3}')"
}

# What k3s makes of registries.yaml for its containerd: a directory for each mirror, `*` as _default, its
# endpoints with /v2, the authority as a list; passwords go to containerd another way.
as_k3s() { # DIGEST DIGEST
    local yaml=$RIG/k3s/registries.yaml dirs=$RIG/k3s/certs.d user='' mirror endpoint authority name digest
    rm -rf "$RIG/k3s"
    printed k3s "$images/layout" "$yaml" || return 0
    authority=$(sed -n 's/^ *ca_file: "\(.*\)"/\1/p' "$yaml")
    [ -z "$authority" ] || cp "$settings/imgpack-ca.crt" "$RIG/k3s/ca.crt"
    for mirror in '*' docker.io; do
        endpoint=$(grep -F -A 2 "\"$mirror\":" "$yaml" | sed -n 's/^ *- "\(.*\)"/\1/p')
        name=${mirror/\*/_default}
        mkdir -p "$dirs/$name"
        printf '[host."%s/v2"]\n  capabilities = ["pull", "resolve"]\n' "$endpoint" >"$dirs/$name/hosts.toml"
        [ -z "$authority" ] || echo "  ca = [\"$RIG/k3s/ca.crt\"]" >>"$dirs/$name/hosts.toml"
    done
    [ -z "$login" ] || user='--user alice:s3cret'
    for name in docker.io/fx/hello:1 quay.io/fx/app:2; do
        digest=$1; shift
        ctr_at ctr images rm --sync "$name" >/dev/null
        # shellcheck disable=SC2086
        ctr_at ctr images pull --hosts-dir "$dirs" $user "$name" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
        same "$label $kind $place: $name: containerd, as k3s tells it" "$digest" "$(ctr_at ctr images ls | awk -v name="$name" '$1 == name {print $3}')"
    done
}

gives_platforms() { # an index goes whole
    local digest
    place=platforms digest=$(archive_index "$images/platforms")
    begin_serving "$images/platforms" || return 0
    same "$label $kind: two platforms: imgpack" "$digest" "$(digest_of "$near/fx/platforms:1")"
    same "$label $kind: two platforms: skopeo" "$digest" \
        "sha256:$(skopeo_at inspect --raw "docker://$near/fx/platforms:1" | sha256sum | cut -d ' ' -f 1)"
    check "$label $kind: two platforms: ctr pull" ctr_at ctr images pull --all-platforms --hosts-dir "$settings" docker.io/fx/platforms:1
    same "$label $kind: two platforms: ctr" "$digest" "$(ctr_at ctr images ls | awk '$1 == "docker.io/fx/platforms:1" {print $3}')"
    check "$label $kind: nothing is pushed to what is read only" refuses_pushes
    empty_engines
    end_serving
}
refuses_pushes() { ! at_registry push "$images/layout" "$near/fx/refused:1" && ! skopeo_to "oci:$images/platforms" "docker://$near/fx/refused:1"; }

# A stick that is pulled out, as the kernel sees it, and put in again. `tests/serve_places.rs` has the rest.
gives_stick() {
    local stick=$RIG/stick digest
    digest=$(digest_in "$images/layout" fx/hello:1)
    mkdir -p "$stick"
    put_in "$stick" && begin_serving "$stick" || return 0
    same "$label $kind stick: it is there" "$digest" "$(digest_of "$near/fx/hello:1")"
    umount -l "$stick"
    check "$label $kind stick: pulled out, it is gone" eventually gone "$near/fx/hello:1"
    check "$label $kind stick: and the server is not" curl -fsk "$scheme://$near/healthz"
    check "$label $kind stick: put in again" put_in "$stick"
    check "$label $kind stick: it is there again" eventually at_registry pull -q "$near/fx/hello:1"
    umount -l "$stick"
    end_serving
}
put_in() { mount -t tmpfs tmpfs "$1" && cp -a "$images/layout/." "$1/"; }
gone() { ! at_registry digest "$1"; }
eventually() { # COMMAND…
    local tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || return 1
        sleep 0.2
    done
}

takes_all() {
    local store
    begin_serving --writable "$RIG/kept-$kind" --delete || return 0
    check "$label $kind writable: imgpack pushes" at_registry push "docker-archive:$images/docker.tar:fx/hello:1" "$near/imgpack/hello:1"
    gives 'writable: what imgpack pushed' "$(digest_of "$near/imgpack/hello:1")" "$hello_id" "$near/imgpack/hello:1"
    takes 'skopeo pushes' "$hello_id" "$near/skopeo/hello:1" skopeo_to "docker-archive:$images/docker.tar:fx/hello:1" "docker://$near/skopeo/hello:1"
    check "$label $kind: skopeo pushes two platforms" skopeo_to --all --preserve-digests "oci:$images/platforms" "docker://$near/skopeo/platforms:1"
    same "$label $kind: two platforms: the same index" "$(archive_index "$images/platforms")" "$(digest_of "$near/skopeo/platforms:1")"
    takes 'podman pushes' "$hello_id" "$near/podman/hello:1" podman_to push "$near/imgpack/hello:1" "$near/podman/hello:1"
    if have buildah; then
        takes 'buildah pushes' "$hello_id" "$near/buildah/hello:1" \
            buildah push -q "$(tls_flags)" "$near/imgpack/hello:1" "docker://$near/buildah/hello:1"
    fi
    for store in $stores; do
        docker_at "$store" tag "$near/imgpack/hello:1" "$near/docker-$store/hello:1"
        takes "docker pushes ($store)" "$hello_id" "$near/docker-$store/hello:1" docker_at "$store" push -q "$near/docker-$store/hello:1"
    done
    takes 'ctr pushes' "$hello_id" "$near/ctr/hello:1" ctr_to push "$near/ctr/hello:1" "$near/imgpack/hello:1"
    check "$label $kind writable: imgpack deletes a tag" at_registry delete "$near/ctr/hello:1"
    same "$label $kind writable: it is gone" none "$(digest_of "$near/ctr/hello:1" 2>/dev/null)none"
    end_serving
    empty_engines
    # what was taken is still there, and lies in a store that every verb reads
    check "$label $kind: verify of the store" "$IMGPACK" verify "oci:$RIG/kept-$kind"
    begin_serving "$RIG/kept-$kind" || return 0
    gives 'started again' "$(digest_of "$near/docker-gd/hello:1")" "$hello_id" "$near/docker-gd/hello:1"
    end_serving
    empty_engines
}

# Two images of the rig's own, and one for two platforms; the docker archive is docker's.
make_images() {
    local text file
    mkdir -p "$images/root"
    for text in hello app; do
        echo "$text" >"$images/root/file"
        tar -C "$images/root" --owner 0 --group 0 -cf "$images/$text.tar" .
    done
    make import "$images/hello.tar" fx/hello:1 && make import "$images/app.tar" quay.io/fx/app:2 &&
        make save -o "$images/union.tar" fx/hello:1 quay.io/fx/app:2 &&
        make copy "$images/union.tar" "oci:$images/layout" || return 1
    docker_at gd load -q -i "$images/union.tar" &&
        docker_at gd save -o "$images/docker.tar" fx/hello:1 quay.io/fx/app:2 || return 1
    python3 "$lib/images.py" layout "$images/platforms" fx/platforms:1 amd64 s390x
}
make() { "$IMGPACK" --store "$RIG/made" "$@"; }

images=$RIG/served guard=()
mkdir -p /etc/docker "$settings" "$RIG/hosts"
for file in /etc/docker /etc/containerd; do mount -t tmpfs tmpfs "$file"; done
mkdir -p "$settings"
ip addr add "${outside%:*}/32" dev lo
if ! make_images >"$RIG/said" 2>&1; then
    fail "$label serve: images"
    tail -n 5 "$RIG/said"
else
    hello_id=$(make images --no-trunc --format '{{.ID}}' fx/hello:1)
    app_id=$(make images --no-trunc --format '{{.ID}}' quay.io/fx/app:2)
    empty_engines
    # bcrypt, by `htpasswd -B`: s3cret
    echo 'alice:$2y$05$r8qMujOAmLSiVX4LyZFTSedRlmWS4ofuBhsXtaK360WJw05sTwtwG' >"$RIG/htpasswd"
    have buildah || skip 'buildah push: not installed (apt-get install buildah)'
    REGISTRY=$near
    for kind in $guards; do
        scheme=https secure=true login='' guard=(--tls self-signed --state-dir "$RIG/serve-state")
        [ "$kind" != http ] || { scheme=http secure=false guard=(); }
        [ "$kind" != password ] || { login=yes guard+=(--htpasswd "$RIG/htpasswd"); }
        rm -rf "$HOME/.docker" "/etc/containers/registries.conf.d"
        begin_serving "$images/layout" || continue
        if tell_engines >"$RIG/said" 2>&1; then ok "$label $kind: engines are told"; else fail "$label $kind: engines are told"; tail -n 5 "$RIG/said"; fi
        end_serving
        for file in layout union.tar docker.tar; do gives_place "$images/$file"; done
        gives_platforms
        [ "$kind" != http ] || gives_stick
        rm -f /etc/containers/registries.conf.d/imgpack.conf
        takes_all
        stop_dockerd "mirrored-$kind"
    done
fi
