# shellcheck shell=bash
# Sourced by run: images through Debian's docker-registry: plain, with TLS and a password, with Bearer
# tokens. What imgpack pushes every engine pulls, and the reverse, with the same digests and image IDs;
# a login by one is a login for all.

. "$lib/registry.sh"
. "$lib/ways.sh"

# With nginx's image, and an index of two platforms, against the registry in REGISTRY.
all_ways() {
    local name host=$REGISTRY layout=$RIG/platforms digest store
    check "$label $kind: push of a union archive" at_registry push "$RIG/nginx.tar" "$host/ours/union:1"
    digest=$(digest_of "$host/ours/union:1")
    gives 'a union archive' "$digest" "$known" "$host/ours/union:1"
    check "$label $kind: push of a docker archive" at_registry push "docker-archive:$source" "$host/ours/docker:1"
    same "$label $kind: the same manifest of both" "$digest" "$(digest_of "$host/ours/docker:1")"
    for name in $stores; do
        check "$label $kind: docker run ($name): nginx answers" serves_http docker_at "$name" run -d --network host "$host/ours/union:1"
    done
    check "$label $kind: podman run: nginx answers" serves_http podman run -d --network host --cgroup-parent "/${RIG##*/}" "$host/ours/union:1"

    takes 'skopeo pushes' "$known" "$host/skopeo/nginx:1" skopeo_to "docker-archive:$source" "docker://$host/skopeo/nginx:1"
    takes 'podman pushes' "$known" "$host/podman/nginx:1" podman_to push "$host/ours/union:1" "$host/podman/nginx:1"
    for store in $stores; do
        docker_at "$store" tag "$host/ours/union:1" "$host/docker-$store/nginx:1"
        takes "docker pushes ($store)" "$known" "$host/docker-$store/nginx:1" docker_at "$store" push -q "$host/docker-$store/nginx:1"
    done
    takes 'ctr pushes' "$known" "$host/ctr/nginx:1" ctr_to push "$host/ctr/nginx:1" "$host/ours/union:1"

    check "$label $kind: push of two platforms" at_registry push "oci:$layout" "$host/ours/platforms:1"
    digest=$(archive_index "$layout")
    same "$label $kind: two platforms: imgpack digest" "$digest" "$(digest_of "$host/ours/platforms:1")"
    same "$label $kind: two platforms: skopeo" "$digest" \
        "sha256:$(skopeo_at inspect --raw "docker://$host/ours/platforms:1" | sha256sum | cut -d ' ' -f 1)"
    check "$label $kind: two platforms: ctr pull" ctr_to pull --all-platforms "$host/ours/platforms:1"
    same "$label $kind: two platforms: ctr" "$digest" \
        "$(ctr_at ctr images ls | awk -v name="$host/ours/platforms:1" '$1 == name {print $3}')"
    check "$label $kind: two platforms by skopeo" skopeo_to --all --preserve-digests "docker://$host/ours/platforms:1" \
        "--src-tls-verify=$secure" "docker://$host/skopeo/platforms:1"
    check "$label $kind: two platforms back" at_registry copy -q "docker://$host/skopeo/platforms:1" "oci:$RIG/back-$kind"
    same "$label $kind: two platforms: the same index" "$digest" "$(archive_index "$RIG/back-$kind")"
    check "$label $kind: verify of what came back" at_registry verify "oci:$RIG/back-$kind"
    empty_engines
}

nobody() { rm -rf "$HOME/.docker" /run/containers/0/auth.json "$HOME/.config/containers"; }
skopeo_tls() { local verb=$1; shift; skopeo "$verb" "$(tls_flags)" "$@"; }
podman_tls() { local verb=$1; shift; podman "$verb" "$(tls_flags)" "$@"; }

# knows WHO: each program pulls with the login that is there.
knows() {
    local name=$REGISTRY/ours/platforms:1
    check "$label $kind: $1's login is read by imgpack" at_registry digest "$name"
    check "$label $kind: $1's login is read by skopeo" skopeo_at inspect --raw "docker://$name"
    check "$label $kind: $1's login is read by podman" podman_to pull "$name"
    [ -n "$2" ] || check "$label $kind: $1's login is read by docker" docker_at gd pull -q "$name"
    empty_engines
}
denied() { # COMMAND…: exit code 5 and one line
    local status=0
    "$@" >"$RIG/said" 2>&1 || status=$?
    cat "$RIG/said"
    [ "$status" = 5 ] && [ "$(grep -c '^imgpack: ' "$RIG/said")" = 1 ] && ! grep -q s3cret "$RIG/said"
}
logins() {
    local who
    nobody
    check "$label $kind: nobody is let in" denied at_registry digest "$REGISTRY/ours/platforms:1"
    check "$label $kind: a wrong password is refused" denied eval "echo wrong | at_registry login -u alice --password-stdin $REGISTRY"
    for who in at_registry 'docker_at gd' podman_tls skopeo_tls; do
        nobody
        # shellcheck disable=SC2086
        case $who in
        *_tls) check "$label $kind: ${who%_*} login" eval "echo s3cret | $who login -u alice --password-stdin $REGISTRY" ;;
        *) check "$label $kind: ${who%_*} login" log_in $who ;;
        esac
        # docker reads only its own file
        case $who in *_tls) knows "${who%_*}" other ;; at_*) knows imgpack '' ;; *) knows docker '' ;; esac
    done
    check "$label $kind: imgpack logout" at_registry logout "$REGISTRY"
    nobody
}

nginx_union() {
    empty_engines
    at_registry load -q -i "$source" && at_registry save -o "$RIG/nginx.tar" nginx:1 && at_registry rmi nginx:1
} >/dev/null

# With nginx where it is: the archive that imgpack makes of it.
source=$bench/nginx.docker.tar
mkdir -p /etc/containers/certs.d
python3 "$lib/images.py" layout "$RIG/platforms" fx/platforms:1 amd64 s390x
if ! have docker-registry; then
    skip 'registries: docker-registry is not installed (apt-get install docker-registry)'
elif [ ! -e "$source" ]; then
    skip "registries: no $source (scripts/bench-images makes it)"
elif ! nginx_union; then
    fail "$label imgpack load and save nginx"
else
    known=$(archive ids "$source")
    for kind in $registries; do
        secure=false login=''
        case $kind in
        plain) start_registry "$RIG/reg-$kind" || { fail "$label $kind: docker-registry"; continue; } ;;
        *)
            have openssl && have python3 || { skip "registry with $kind: no openssl"; continue; }
            login=yes
            [ "$kind" = Bearer ] || secure=true
            "start_$(echo "$kind" | tr '[:upper:]' '[:lower:]')" "$RIG/reg-$kind" || { fail "$label $kind: docker-registry"; continue; }
            [ "$kind" = TLS ] || RIG_PIDS="$RIG_PIDS $ISSUER_PID"
            ;;
        esac
        RIG_PIDS="$RIG_PIDS $REGISTRY_PID"
        scheme=http
        mkdir -p "$RIG/hosts/$REGISTRY" "/etc/containers/certs.d/$REGISTRY"
        [ "$secure" = false ] || {
            scheme=https
            check "$label $kind: an unknown authority is refused" denied at_registry digest "$REGISTRY/ours/union:1"
            cp "$RIG/reg-$kind/ca.crt" "/etc/containers/certs.d/$REGISTRY/ca.crt"
        }
        printf 'server = "%s://%s"\n[host."%s://%s"]\n  capabilities = ["pull", "resolve", "push"]\n' \
            "$scheme" "$REGISTRY" "$scheme" "$REGISTRY" >"$RIG/hosts/$REGISTRY/hosts.toml"
        [ "$secure" = false ] || echo "  ca = \"$RIG/reg-$kind/ca.crt\"" >>"$RIG/hosts/$REGISTRY/hosts.toml"
        if [ -n "$login" ]; then
            check "$label $kind: imgpack login" log_in at_registry
            # for podman and skopeo alike; docker has read it at imgpack's
        fi
        all_ways
        [ -z "$login" ] || logins
    done
fi
