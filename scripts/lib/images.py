#!/usr/bin/env python3
"""Builds image archives from directories, with nothing but the standard library.

    images.py layer DIR OUT.tar         an overlayfs upper directory (or a whole root) as a layer tar
    images.py archive PLAN.json OUT     a docker archive; PLAN lists images, their layer tars and config

Whiteouts of overlayfs become `.wh.` files, opaque directories `.wh..wh..opq`, hard links and
security.* attributes are kept. Independent of imgpack on purpose: it feeds the tests of imgpack.
"""
import hashlib
import io
import json
import os
import stat
import sys
import tarfile


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


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while chunk := data.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def make_archive(plan, out):
    images = json.load(open(plan))
    digests = {path: sha256(path) for path in sorted({p for i in images for p in i["layers"]})}
    manifest, written = [], set()
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT, copybufsize=1 << 20) as tar:

        def add(name, data, size):
            if name not in written:
                written.add(name)
                info = tarfile.TarInfo(name)
                info.size = size
                tar.addfile(info, data)

        for image in images:
            config = {
                "architecture": "amd64",
                "config": image["config"],
                "created": "2025-01-01T00:00:00Z",
                "history": [
                    {"created": "2025-01-01T00:00:00Z", "created_by": os.path.basename(p).removesuffix(".tar")}
                    for p in image["layers"]
                ],
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digests[p] for p in image["layers"]]},
            }
            raw = json.dumps(config, sort_keys=True).encode()
            name = hashlib.sha256(raw).hexdigest() + ".json"
            for path in image["layers"]:
                with open(path, "rb") as data:
                    add(digests[path] + "/layer.tar", data, os.path.getsize(path))
            add(name, io.BytesIO(raw), len(raw))
            manifest.append(
                {"Config": name, "RepoTags": [image["name"]], "Layers": [digests[p] + "/layer.tar" for p in image["layers"]]}
            )
        raw = json.dumps(manifest).encode()
        add("manifest.json", io.BytesIO(raw), len(raw))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["layer", root, out]:
            make_layer(root, out)
        case ["archive", plan, out]:
            make_archive(plan, out)
        case _:
            sys.exit(__doc__)
