#!/usr/bin/env python3
"""A Docker archive of one image with many layers, one small file in each: deep.py FILE NAME COUNT."""
import hashlib
import io
import json
import sys
import tarfile

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


def tar_of(to, files):
    with tarfile.open(fileobj=to, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in files:
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def layer(at):
    out = io.BytesIO()
    tar_of(out, [(f"file{at}", str(at).encode())])
    return out.getvalue()


layers = [layer(at) for at in range(count)]
diff_ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
item = {"Config": "config.json", "RepoTags": [name], "Layers": [f"{at}.tar" for at in range(count)]}
files = [(f"{at}.tar", data) for at, data in enumerate(layers)]
files += [("config.json", json.dumps(config).encode()), ("manifest.json", json.dumps([item]).encode())]
with open(path, "wb") as to:
    tar_of(to, files)
