#!/usr/bin/env python3
"""Builds images, with nothing but the standard library: the one place for it in the scripts.

    images.py layer DIR OUT.tar         an overlayfs upper directory (or a whole root) as a layer tar
    images.py archive PLAN.json OUT     a Docker archive; PLAN lists images, their layer tars and config
    images.py deep OUT NAME COUNT       a Docker archive of one image of so many layers, one small file in each
    images.py layout DIR NAME CPU…      an OCI layout of one image for several platforms (see `platforms`)

Others import it: layers, configs and descriptors as functions, `docker` for archives in memory, `Layout` for
directories. Independent of imgpack on purpose: it feeds the tests of imgpack.
"""
import hashlib
import io
import json
import os
import random
import shutil
import stat
import sys
import tarfile
import zlib

OCI = "application/vnd.oci.image."
MANIFEST, INDEX, CONFIG, LAYER = (OCI + kind for kind in ("manifest.v1+json", "index.v1+json", "config.v1+json", "layer.v1.tar"))


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def text(document):
    return json.dumps(document).encode()


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def gzip(data):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def tar(members, form=tarfile.USTAR_FORMAT):
    """A tar of (name, bytes); without bytes it is a symbolic link to `target`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            if body is None:
                info.type, info.linkname = tarfile.SYMTYPE, "target"
            info.size = len(body or b"")
            archive.addfile(info, io.BytesIO(body or b""))
    return out.getvalue()


def layer(seed, size, packed=False):
    """A layer of one file of noise: as it is stored, and its diff id."""
    plain = tar([(f"file-{seed}", noise(seed, size))])
    return (gzip(plain) if packed else plain), sha(plain)


def config(diff_ids, **more):
    """A config; `more` are other fields, or others of these."""
    return text({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}, **more})


def desc(kind, data):
    return {"mediaType": kind, "digest": sha(data), "size": len(data)}


def manifest(config, layers, **more):
    return text({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more})


def index(entries):
    return text({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def docker(images):
    """A Docker archive of (tag or tags, [(stored layer, diff id)])."""
    members, table = {}, []
    for tags, layers in images:
        raw = config([diff_id for _, diff_id in layers])
        name = sha(raw)[7:] + ".json"
        members[name] = raw
        names = [sha(stored)[7:19] + "/layer.tar" for stored, _ in layers]
        members |= zip(names, (stored for stored, _ in layers))
        table.append({"Config": name, "RepoTags": tags if isinstance(tags, list) else [tags], "Layers": names})
    members["manifest.json"] = text(table)
    return tar(sorted(members.items()))


class Layout:
    """An OCI layout in a directory, which is emptied first."""

    def __init__(self, root):
        self.root, self.entries = str(root), []
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root + "/blobs/sha256")

    def blob(self, data, kind):
        entry = desc(kind, data)
        with open(f"{self.root}/blobs/sha256/{entry['digest'][7:]}", "wb") as file:
            file.write(data)
        return entry

    def config(self, diff_ids, **more):
        return self.blob(config(diff_ids, **more), CONFIG)

    def manifest(self, layers, config, **more):
        return self.blob(manifest(config, layers, **more), MANIFEST)

    def image(self, layers, **more):
        """Plain layers and their config, with more fields in it; its descriptor."""
        layers = [self.blob(data, LAYER) for data in layers]
        return self.manifest(layers, self.config([layer["digest"] for layer in layers], **more))

    def name(self, entry, *names):
        for name in names:
            kept = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
            self.entries.append({**entry, "annotations": kept})

    def close(self):
        with open(self.root + "/index.json", "wb") as file:
            file.write(text({"schemaVersion": 2, "manifests": self.entries}))
        with open(self.root + "/oci-layout", "w") as file:
            file.write('{"imageLayoutVersion":"1.0.0"}')
        return self.root


def platforms(root, name, cpus):
    """One index over an image for each platform, named without a reference name; `unnamed.json` is an
    index.json with an image of amd64 that has no name; `last` holds the digest of the last manifest."""
    layout = Layout(root)
    image = lambda cpu: layout.image([tar([(cpu, b"")])], architecture=cpu) | {"platform": {"os": "linux", "architecture": cpu}}
    children = [image(cpu) for cpu in cpus]
    entry = layout.blob(index(children), INDEX)
    layout.entries = [entry | {"annotations": {"io.containerd.image.name": "docker.io/" + name}}]
    layout.close()
    for file, data in (("last", children[-1]["digest"].encode()), ("unnamed.json", text({"schemaVersion": 2, "manifests": [image("amd64")]}))):
        with open(f"{root}/{file}", "wb") as out:
            out.write(data)


def deep(out, name, count):
    layers = [tar([(f"file{at}", str(at).encode())]) for at in range(count)]
    with open(out, "wb") as file:
        file.write(docker([(name, [(data, sha(data)) for data in layers])]))


def make_layer(root, out):
    links = {}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20) as tar:

        def empty(name):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())

        def walk(directory, prefix):
            for entry in sorted(os.scandir(directory), key=lambda e: e.name):
                name = prefix + entry.name
                st = entry.stat(follow_symlinks=False)
                if stat.S_ISSOCK(st.st_mode):
                    continue
                if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
                    empty(prefix + ".wh." + entry.name)
                    continue
                info = tar.gettarinfo(entry.path, arcname=name)
                info.pax_headers = {
                    "SCHILY.xattr." + key: os.getxattr(entry.path, key, follow_symlinks=False).decode("utf-8", "surrogateescape")
                    for key in os.listxattr(entry.path, follow_symlinks=False)
                    if key.startswith("security.") or key.startswith("user.")
                }
                tar.inodes.clear()  # gettarinfo keeps its own table of links; ours knows this layer's names only
                if info.isreg() or info.islnk():
                    first = links.setdefault((st.st_dev, st.st_ino), name) if st.st_nlink > 1 else name
                    if first != name:
                        info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                        tar.addfile(info)
                        continue
                    info.type, info.linkname, info.size = tarfile.REGTYPE, "", st.st_size
                    with open(entry.path, "rb") as data:
                        tar.addfile(info, data)
                    continue
                tar.addfile(info)
                if entry.is_dir(follow_symlinks=False):
                    try:
                        if os.getxattr(entry.path, "trusted.overlay.opaque") == b"y":
                            empty(name + "/.wh..wh..opq")
                    except OSError:
                        pass
                    walk(entry.path, name + "/")

        walk(root, "")


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while chunk := data.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def make_archive(plan, out):
    images = json.load(open(plan))
    digests = {path: sha256_of(path) for path in sorted({p for i in images for p in i["layers"]})}
    table, written = [], set()
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT, copybufsize=1 << 20) as tar:

        def add(name, data, size):
            if name not in written:
                written.add(name)
                info = tarfile.TarInfo(name)
                info.size = size
                tar.addfile(info, data)

        for image in images:
            created = {"created": "2025-01-01T00:00:00Z"}
            history = [created | {"created_by": os.path.basename(p).removesuffix(".tar")} for p in image["layers"]]
            raw = config(["sha256:" + digests[p] for p in image["layers"]], config=image["config"], history=history, **created)
            name = sha(raw)[7:] + ".json"
            for path in image["layers"]:
                with open(path, "rb") as data:
                    add(digests[path] + "/layer.tar", data, os.path.getsize(path))
            add(name, io.BytesIO(raw), len(raw))
            table.append(
                {"Config": name, "RepoTags": [image["name"]], "Layers": [digests[p] + "/layer.tar" for p in image["layers"]]}
            )
        raw = text(table)
        add("manifest.json", io.BytesIO(raw), len(raw))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["layer", root, out]:
            make_layer(root, out)
        case ["archive", plan, out]:
            make_archive(plan, out)
        case ["deep", out, name, count]:
            deep(out, name, int(count))
        case ["layout", root, name, *cpus]:
            platforms(root, name, cpus)
        case _:
            sys.exit(__doc__)
