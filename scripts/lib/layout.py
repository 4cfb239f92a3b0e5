#!/usr/bin/env python3
"""An OCI layout of one image for several platforms: layout.py DIR NAME CPU…

index.json names the index; unnamed.json is one with an image of amd64 that has no name; `last` holds the
digest of the last platform"s manifest.
"""
import hashlib
import io
import json
import os
import sys
import tarfile

root, name, *cpus = sys.argv[1:]
os.makedirs(root + "/blobs/sha256")


def blob(data, kind, **more):
    digest = hashlib.sha256(data).hexdigest()
    open(f"{root}/blobs/sha256/{digest}", "wb").write(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": "sha256:" + digest, "size": len(data), **more}


def image(cpu):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(cpu))
    layer = blob(out.getvalue(), "layer.v1.tar")
    config = {"architecture": cpu, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}, "config": {}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": blob(json.dumps(config).encode(), "config.v1+json"), "layers": [layer]}
    return blob(json.dumps(manifest).encode(), "manifest.v1+json", platform={"os": "linux", "architecture": cpu})


index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [image(cpu) for cpu in cpus]}
open(root + "/last", "w").write(index["manifests"][-1]["digest"])
entry = blob(json.dumps(index).encode(), "index.v1+json", annotations={"io.containerd.image.name": "docker.io/" + name})
json.dump({"schemaVersion": 2, "manifests": [entry]}, open(root + "/index.json", "w"))
json.dump({"schemaVersion": 2, "manifests": [image("amd64")]}, open(root + "/unnamed.json", "w"))
open(root + "/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
