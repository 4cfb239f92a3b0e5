# shellcheck shell=bash
# Private container engines for tests. Source it, then:
#
#   rig_enter "$@"                run the calling script again inside a rig; returns only inside it
#   start_dockerd NAME [OPTION…]  dockerd with its own containerd; afterwards: docker_at NAME ARG…
#   start_containerd NAME         containerd; afterwards: ctr_at NAME ARG…
#   stop_dockerd NAME, stop_all   end what was started here
#
# A rig is a folder $RIG and private mount, process and network namespaces. Inside, /run, /dev/shm,
# /etc/containers and /var/lib/containers belong to the rig, so podman and skopeo need no options;
# there is no network but loopback; when the script ends, so does everything it started, and $RIG is
# removed. Any number of rigs run side by side.

rig_enter() {
    if [ -z "${RIG:-}" ]; then
        [ "$(id -u)" = 0 ] || { echo "${0##*/}: the rig needs root" >&2; exit 1; }
        RIG=$(mktemp -d "${IMGPACK_TEST_TMP:-/var/tmp}/imgpack-rig.XXXXXX")
        export RIG
        trap 'rig_remove' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
        unshare --mount --propagation private --pid --fork --mount-proc --net --kill-child=KILL bash "$0" "$@" &
        RIG_CHILD=$!
        local status=0
        wait "$RIG_CHILD" || status=$?
        exit "$status"
    fi
    trap 'stop_all' EXIT
    [ -z "${RIG_READY:-}" ] || return 0
    export RIG_READY=1 HOME=$RIG/home TMPDIR=$RIG/tmp
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG XDG_RUNTIME_DIR CONTAINER_HOST REGISTRY_AUTH_FILE SSL_CERT_FILE SSL_CERT_DIR
    mkdir -p "$HOME" "$TMPDIR" "$RIG/containers" /var/lib/containers /etc/containers
    ip link set lo up
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /dev/shm
    mkdir -p /run/lock
    mount -t tmpfs tmpfs /etc/containers
    mount --bind "$RIG/containers" /var/lib/containers
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' \
        >/etc/containers/storage.conf
    printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "runc"\n' >/etc/containers/containers.conf
    : >/etc/containers/registries.conf
}

rig_remove() {
    [ -z "${RIG_CHILD:-}" ] || { kill -KILL "$RIG_CHILD" 2>/dev/null || :; wait "$RIG_CHILD" 2>/dev/null || :; }
    find /sys/fs/cgroup -depth -type d -path "*/${RIG##*/}*" -exec rmdir {} + 2>/dev/null || :
    rm -rf "${RIG:?}"
}

RIG_PIDS=''
stop_all() {
    local pid
    for pid in $RIG_PIDS; do kill -TERM "$pid" 2>/dev/null || :; done
    for pid in $RIG_PIDS; do wait "$pid" 2>/dev/null || :; done
    RIG_PIDS=''
}

# await NAME LOG COMMAND…: waits until COMMAND works; shows the end of LOG when it never does.
await() {
    local name=$1 log=$2 tries=0; shift 2
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then
            echo "$name did not start:" >&2
            tail -n 20 "$log" >&2
            return 1
        fi
        sleep 0.2
    done
}

docker_at() { local name=$1; shift; docker -H "unix://$RIG/$name/docker.sock" "$@"; }
ctr_at() { local name=$1; shift; ctr -a "$RIG/$name/containerd.sock" "$@"; }

# start_dockerd NAME [OPTION…]: options go to dockerd; a file $RIG/NAME/daemon.json is used when there.
start_dockerd() {
    local name=$1 home=$RIG/$1; shift
    mkdir -p "$home"
    [ -e "$home/daemon.json" ] || echo '{}' >"$home/daemon.json"
    dockerd --host "unix://$home/docker.sock" --config-file "$home/daemon.json" --data-root "$home/data" \
        --exec-root "$home/exec" --pidfile "$home/pid" --cgroup-parent "/${RIG##*/}" \
        --exec-opt native.cgroupdriver=cgroupfs \
        --iptables=false --ip-masq=false --bridge=none "$@" >"$home/log" 2>&1 &
    echo $! >"$home/started"
    RIG_PIDS="$RIG_PIDS $!"
    await "dockerd ($name)" "$home/log" docker_at "$name" version
}
stop_dockerd() {
    local pid
    pid=$(cat "$RIG/$1/started")
    kill -TERM "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || :
}

start_containerd() {
    local name=$1 home=$RIG/$1
    mkdir -p "$home"
    cat >"$home/config.toml" <<END
version = 2
root = "$home/root"
state = "$home/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$home/containerd.sock"
END
    containerd --config "$home/config.toml" >"$home/log" 2>&1 &
    RIG_PIDS="$RIG_PIDS $!"
    await "containerd ($name)" "$home/log" ctr_at "$name" version
}
