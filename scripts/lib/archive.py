#!/usr/bin/env python3
"""What the engine tests need to know about archives, read without imgpack.

    archive.py docker U        manifest.json: one line `ID|NAME,NAME…|OS/ARCH` per image
    archive.py index U         index.json: one line `DIGEST|FULL NAME|REF NAME|MEDIA TYPE` per entry
    archive.py ids U           the sorted image IDs (config digests), of manifest.json or else of index.json
    archive.py odd U           prints `odd` when a layer is neither a plain tar nor gzip
    archive.py config U        the first image's config, without what two tools may differ in
    archive.py dirconfig DIR   the config digest of a skopeo `dir:`
    archive.py trees A B       differences of two root file system tars, apart from what docker adds
    archive.py fixtures FILE   from expected.json: lines `PATH|ID,ID…` of what every engine can load
"""
import hashlib
import json
import posixpath
import sys
import tarfile

ADDED = ("dev", "proc", "sys", ".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", "run/.containerenv")


class Archive:
    def __init__(self, path):
        self.tar = tarfile.open(path)
        self.members = {posixpath.normpath(m.name): m for m in self.tar}

    def member(self, name):
        name = posixpath.normpath(name)
        m = self.members[name]
        while m.issym() or m.islnk():
            name = posixpath.normpath(m.linkname if m.islnk() else posixpath.join(posixpath.dirname(name), m.linkname))
            m = self.members[name]
        return m

    def read(self, name, limit=None):
        return self.tar.extractfile(self.member(name)).read(limit)

    def docker(self):
        if "manifest.json" not in self.members:
            return
        for item in json.loads(self.read("manifest.json")):
            raw = self.read(item["Config"])
            yield "sha256:" + hashlib.sha256(raw).hexdigest(), item.get("RepoTags") or [], json.loads(raw), item["Layers"]

    def index(self):
        for d in json.loads(self.read("index.json"))["manifests"]:
            notes = d.get("annotations") or {}
            names = notes.get("io.containerd.image.name", ""), notes.get("org.opencontainers.image.ref.name", "")
            yield d["digest"], *names, d["mediaType"]


    def oci(self, digest=None):
        """The config digests under an index or manifest; of a missing child, nothing."""
        name = "blobs/" + digest.replace(":", "/") if digest else "index.json"
        if name not in self.members:
            return
        document = json.loads(self.read(name))
        if "config" in document:
            yield document["config"]["digest"]
        for child in document.get("manifests") or []:
            if not (child.get("annotations") or {}).get("vnd.docker.reference.type"):
                yield from self.oci(child["digest"])

    def ids(self):
        if "manifest.json" in self.members:
            return sorted({i for i, _, _, _ in self.docker()})
        return sorted(set(self.oci()))


def odd(path):
    archive = Archive(path)
    for _, _, _, layers in archive.docker():
        for layer in layers:
            head = archive.read(layer, 512)
            if head[:2] != b"\x1f\x8b" and head[257:262] != b"ustar" and head.strip(b"\0"):
                return True
    return False


def plain(value):
    """Drops what is empty: null, "", [], {}, 0 and false mean the same as a missing key."""
    if isinstance(value, dict):
        sets = ("ExposedPorts", "Volumes")  # their members are empty objects, and count
        return {k: v for k, v in ((k, v if k in sets else plain(v)) for k, v in value.items()) if v}
    return [plain(v) for v in value] if isinstance(value, list) else value


def config(path):
    _, _, c, _ = next(Archive(path).docker())
    # Docker's own stores differ in these: the classic one repeats the message as `comment`, the
    # containerd one, whose document imgpack writes, has it in the history alone.
    for key in ("created", "container", "container_config", "docker_version", "id", "parent", "comment"):
        c.pop(key, None)
    inner = c.get("config") or {}
    for key in ("Hostname", "Image"):
        inner.pop(key, None)
    c["history"] = [{"comment": h.get("comment")} for h in c.get("history") or []]
    return json.dumps(plain(c), sort_keys=True)


def tree(path):
    found, groups = {}, {}
    with tarfile.open(path) as tar:
        for m in tar:
            name = posixpath.normpath(m.name).lstrip("/")
            if name == "." or any(name == a or name.startswith(a + "/") for a in ADDED):
                continue
            if m.islnk():
                first = posixpath.normpath(m.linkname).lstrip("/")
                found[name] = found[first]
                groups.setdefault(first, {first}).add(name)
                continue
            kind = {"0": "file", "\0": "file", "7": "file"}.get(m.type.decode(), m.type.decode())
            body = hashlib.sha256(tar.extractfile(m).read()).hexdigest() if m.isreg() else ""
            device = (m.devmajor, m.devminor) if m.isdev() else ()
            xattrs = tuple(sorted((k, v) for k, v in m.pax_headers.items() if k.startswith("SCHILY.xattr.")))
            time = int(m.mtime) if m.isreg() else 0
            mode = 0 if m.issym() else m.mode & 0o7777
            found[name] = (kind, mode, m.uid, m.gid, m.size if m.isreg() else 0, m.linkname, body, device, xattrs, time)
    links = {frozenset(g) for g in groups.values()}
    return found, links


def trees(a, b):
    (left, left_links), (right, right_links) = tree(a), tree(b)
    # What docker adds lies in etc, which it makes when the image has none.
    for name in ("etc", "run"):
        if (name in left) != (name in right) and not any(n.startswith(name + "/") for n in left | right):
            left.pop(name, None), right.pop(name, None)
    lines = [f"only in {a}: {n}" for n in sorted(left.keys() - right.keys())]
    lines += [f"only in {b}: {n}" for n in sorted(right.keys() - left.keys())]
    lines += [f"{n}: {left[n]} {right[n]}" for n in sorted(left.keys() & right.keys()) if left[n] != right[n]]
    lines += [f"hard links differ: {sorted(g)}" for g in left_links ^ right_links]
    print("\n".join(lines[:20]))
    sys.exit(1 if lines else 0)


def usable(image):
    """An image of expected.json that is complete, true to its digests and for Linux."""
    config = image.get("config") or {}
    layers = image.get("layers") or []
    return (
        image.get("image_id")
        and isinstance(config, dict)
        and all(isinstance(l, dict) and "tar" in l.get("mediaType", "tar") for l in layers)
        and config.get("os") in ("linux", "", None)
        and image.get("diff_ids_match", True)
        and all(l.get("present", True) and l.get("digest_ok", True) and l.get("diff_id") for l in layers)
        and len(config.get("diff_ids") or []) == len(layers)
    )


def images(value):
    if isinstance(value, dict):
        if usable(value):
            yield value["image_id"]
        for v in value.values():
            yield from images(v)
    elif isinstance(value, list):
        for v in value:
            yield from images(v)


def artifacts(expected):
    """Whether an index lists something that is no image, such as a Helm chart: engines fail on those."""
    entries = ((expected or {}).get("oci") or {}).get("manifests") or []
    return any("image" not in (entry.get("config_mediaType") or "image") for entry in entries)


def fixtures(path):
    for f in json.load(open(path))["fixtures"]:
        if f["category"] in ("docker-archive", "docker25-hybrid", "oci-archive", "oci-layout", "skopeo-dir"):
            ids = sorted(set(images(f.get("expected"))))
            if ids and not artifacts(f.get("expected")):
                print(f["file"], ",".join(ids), sep="|")


def main(words):
    match words:
        case ["docker", path]:
            for image_id, names, c, _ in Archive(path).docker():
                print(image_id, ",".join(names), f"{c.get('os', '')}/{c.get('architecture', '')}", sep="|")
        case ["index", path]:
            for line in Archive(path).index():
                print(*line, sep="|")
        case ["ids", path]:
            print(*Archive(path).ids(), sep="\n")
        case ["odd", path]:
            print("odd" if odd(path) else "")
        case ["config", path]:
            print(config(path))
        case ["dirconfig", path]:
            print(json.load(open(path + "/manifest.json"))["config"]["digest"])
        case ["trees", a, b]:
            trees(a, b)
        case ["fixtures", path]:
            fixtures(path)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
