# shellcheck shell=bash
# How each engine speaks to a registry. Sourced by the tests of registries, which say which one:
#
#   REGISTRY=host:port  secure=true|false (certificates are looked at)  login=yes|''
#   kind=…              what it is, for the output
#
# containerd finds it by $RIG/hosts.

# imgpack with a store of its own; it finds certificates and logins where podman and docker have them.
at_registry() { "$IMGPACK" --store "$RIG/registry-store" "$@"; }
digest_of() { at_registry digest "$1" | grep -o 'sha256:[0-9a-f]*' || :; } # NAME
tls_flags() { echo "--tls-verify=$secure"; }
skopeo_at() { skopeo "$1" "$(tls_flags)" "${@:2}"; } # VERB ARG…
skopeo_to() { skopeo copy -q "--dest-tls-verify=$secure" "$@"; }
skopeo_from() { skopeo copy -q "--src-tls-verify=$secure" "$@"; }
podman_to() { podman "$1" -q "$(tls_flags)" "${@:2}"; } # push|pull ARG…
ctr_to() { # push|pull NAME: with hosts.toml and a password, as far as each is needed
    local user=''
    [ -z "$login" ] || user='--user alice:s3cret'
    # shellcheck disable=SC2086
    ctr_at ctr images "$1" --hosts-dir "$RIG/hosts" $user "${@:2}"
}

# gives WHAT DIGEST ID NAME: the image in the registry is DIGEST for everyone, and ID where it arrives.
gives() {
    local what="$label $kind: $1" digest=$2 id=$3 name=$4 store
    same "$what: imgpack digest" "$digest" "$(digest_of "$name")"
    same "$what: skopeo inspect" "$digest" "$(skopeo_at inspect --format '{{.Digest}}' "docker://$name")"
    same "$what: skopeo copy" "$id" "$(rm -rf "$RIG/dir" && skopeo_from "docker://$name" "dir:$RIG/dir" && archive dirconfig "$RIG/dir")"
    podman_to pull "$name" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$what: podman pull" "$id ${name%:*}@$digest" \
        "sha256:$(podman image inspect --format '{{.Id}} {{range .RepoDigests}}{{println .}}{{end}}' "$name" | grep -xF -e "${id#sha256:} ${name%:*}@$digest" -e "${name%:*}@$digest" -m 1)"
    for store in $stores; do
        docker_at "$store" pull -q "$name" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
        same "$what: docker pull ($store)" "${name%:*}@$digest" \
            "$(docker_at "$store" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$name" | grep -xF "${name%:*}@$digest")"
        [ "$store" != gd ] || same "$what: docker pull (gd): ID" "$id" "$(docker_at gd image inspect --format '{{.Id}}' "$name")"
    done
    ctr_to pull "$name" >/dev/null 2>"$RIG/said" || tail -n 3 "$RIG/said"
    same "$what: ctr pull" "$digest" "$(ctr_at ctr images ls | awk -v name="$name" '$1 == name {print $3}')"
}

# takes WHAT ID NAME COMMAND…: COMMAND puts the image ID into the registry, imgpack pulls it.
takes() {
    local what="$label $kind: $1" id=$2 name=$3; shift 3
    check "$what" "$@"
    check "$what: imgpack pull" at_registry pull -q "$name"
    same "$what: image ID" "$id" "$(at_registry images --no-trunc --format '{{.ID}}' "$name")"
    same "$what: digest" "$(skopeo_at inspect --format '{{.Digest}}' "docker://$name")" \
        "$(at_registry images --digests --format '{{.Digest}}' "$name")"
}

archive_index() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1] + "/index.json"))["manifests"][0]["digest"])' "$1"; }

# log_in PROGRAM… and out again, password on standard input.
log_in() { echo s3cret | "$@" login -u alice --password-stdin "$REGISTRY"; }
