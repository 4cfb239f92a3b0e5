#!/usr/bin/env python3
"""Writes small valid inputs as first seeds: fuzz/seed.py [CORPUS-DIRECTORY]"""
import bz2, gzip, hashlib, json, lzma, pathlib, sys, tarfile

sys.path.append(str(pathlib.Path(__file__).parents[1] / "scripts/lib"))
import images
from images import desc, sha, tar

base = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")


def put(target, name, data):
    folder = base / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


layer = tar([("etc/", b""), ("etc/text", b"text")])[:2048]
config = images.config([sha(layer)], config={"Labels": {"a": "b"}}, history=[{"created_by": "x", "empty_layer": True}],
                       created="1970-01-01T00:00:00Z")
manifest = images.manifest(desc(images.CONFIG, config), [desc(images.LAYER, layer)])
index = images.index([desc(images.MANIFEST, manifest) | {"annotations": {"org.opencontainers.image.ref.name": "a:1"}}])
table = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]).encode()
docker = [("l/layer.tar", layer), ("c.json", config), ("manifest.json", table)]
blob = lambda data: ("blobs/sha256/" + sha(data)[7:], data)
oci = [blob(layer), blob(config), blob(manifest), ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)]

put("tar_index", "docker", tar(docker))
put("tar_index", "oci", tar(oci))
put("tar_index", "links", tar(docker + [("link", None)]))
put("tar_index", "gnu", tar([("long/" * 40 + "x", b"x")], tarfile.GNU_FORMAT))
put("tar_index", "pax", tar([("long/" * 40 + "é", b"x")], tarfile.PAX_FORMAT))
put("tar_index", "legacy", tar([("repositories", b'{"a":{"1":"' + b"0" * 64 + b'"}}'), ("0" * 64 + "/json", b"{}"),
                                ("0" * 64 + "/layer.tar", layer)]))
for name, data in [("config", config), ("manifest", manifest), ("index", index), ("table", table)]:
    put("json_documents", name, data)
for i, text in enumerate(["nginx", "nginx:1.27", "docker.io/library/a:1", "localhost:5000/a/b:c", "a@" + sha(b""),
                          "[::1]:5000/a:1", sha(b"x"), "sha512:" + hashlib.sha512(b"").hexdigest(), "linux/arm64/v8",
                          "./a/b//c", "a/../b"]):
    put("references_and_digests", str(i), text)
for name, data in [("gzip", gzip.compress(layer)), ("gzip2", gzip.compress(b"a") + gzip.compress(b"b")), ("bzip2", bz2.compress(layer)),
                   ("xz", lzma.compress(layer)), ("zstd", bytes.fromhex("28b52ffd200161000061"))]:
    put("decoders", name, data)
for i, text in enumerate(["/v2/", "/v2/_catalog?n=5&last=a%2Fb", "/v2/a/b/tags/list?ns=quay.io", "/v2/a/manifests/latest", "/v2/a/manifests/" + sha(b""),
                          "/v2/a/blobs/" + sha(b""), "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/0-1?digest=" + sha(b"").replace(":", "%3A"),
                          "/v2/a/referrers/" + sha(b"") + "?artifactType=x/y+json", "/v2/reg.local_5000/blobs/manifests/1", "/v2/a/..%2f../tags/list",
                          "bytes=500-", "bytes=-500", "bytes=0-1,5-6", "0-99", "bytes 0-99/*"]):
    put("serve_requests", str(i), text)
