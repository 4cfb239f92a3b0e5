//! What docker-registry 2.8.2 does wrong, check by check. The suite finds all of it, or the suite is broken.
//!
//! The registry is as Debian's package leaves it, deletes switched on.

/// Of the checks of a server that takes pushes.
pub const DEFECTS: &[&str] = &[
    // No referrers: 404 in plain text, and no OCI-Subject on a push.
    "discovery: referrers of an unknown repository (sha256)",
    "discovery: referrers of an unknown repository (sha512)",
    "referrers: OCI-Subject by tag and by digest (sha256)",
    "referrers: a subject that is not there (sha256)",
    "referrers: of a manifest that has none (sha256)",
    "referrers: artifacts, images and indexes (sha256)",
    "referrers: only those of one artifactType (sha256)",
    "referrers: of an artifactType that none has (sha256)",
    "referrers: a referrer under two tags is one",
    "referrers: a deleted referrer (sha256)",
    "referrers: 60 referrers of one subject",
    "referrers: of a bad digest",
    // sha512 ends at the push: a blob is answered with, and kept under, its sha256; a mount leads to 404.
    "blobs: GET (sha512)",
    "blobs: HEAD (sha512)",
    "mounts: from another repository (sha512)",
    "dev: digests on every answer about a blob (sha512)",
    // A manifest by its sha512 is 400 DIGEST_INVALID, whatever it is.
    "manifests: an image (sha512)",
    "manifests: uncompressed layers (sha512)",
    "manifests: zstd layers (sha512)",
    "manifests: no layers (sha512)",
    "manifests: fields of one's own (sha512)",
    "manifests: bytes that no writer would make (sha512)",
    "manifests: a data field (sha512)",
    "manifests: an artifact (sha512)",
    "manifests: an artifact without layers (sha512)",
    "manifests: a config of one's own (sha512)",
    "manifests: layers at foreign URLs (sha512)",
    "manifests: a docker image (sha512)",
    "manifests: a docker list (sha512)",
    "manifests: an index (sha512)",
    "manifests: an index in an index (sha512)",
    "manifests: an index of nothing (sha512)",
    "manifests: an index that is an artifact (sha512)",
    "manifests: a manifest of 3.9 MB (sha512)",
    "manifests: a manifest of 4 MiB (sha512)",
    "manifests: ETag and If-None-Match (sha512)",
    "manifests: PUT to another digest (sha512)",
    "referrers: OCI-Subject by tag and by digest (sha512)",
    "referrers: a subject that is not there (sha512)",
    "referrers: of a manifest that has none (sha512)",
    "referrers: artifacts, images and indexes (sha512)",
    "referrers: only those of one artifactType (sha512)",
    "referrers: of an artifactType that none has (sha512)",
    "referrers: a deleted referrer (sha512)",
    "delete: a manifest (sha512)",
    "delete: what was deleted can be pushed again (sha512)",
    "dev: ?tag= on a push by digest (sha512)",
    "dev: ?tag= that is no tag (sha512)",
    "dev: digests on every answer about a manifest (sha512)",
    "dev: an index whose images are not there (sha512)",
    // An upload that is unknown is BLOB_UPLOAD_INVALID.
    "discovery: an unknown upload is BLOB_UPLOAD_UNKNOWN",
    // 405 comes in plain text; /v2/ takes every method, referrers are 404.
    "discovery: 405 is error JSON",
    "discovery: DELETE /v2/ and of referrers is 405",
    // The body of a POST is not read and its digest not looked at: 202, an upload begins.
    "uploads: POST with the blob (sha256)",
    "uploads: POST with the blob (sha512)",
    "uploads: POST with the blob, other digest (sha256)",
    "uploads: POST with the blob, other digest (sha512)",
    // An algorithm that it does not know is not refused: digest-algorithm is ignored.
    "uploads: an unknown digest-algorithm",
    // Content-Range of a PATCH is not looked at: parts out of order, again, of another length and with
    // no range at all are appended (202); only the digest shows it. On PUT it is the digest that is wrong.
    "offsets: PATCH out of order (sha256)",
    "offsets: PATCH out of order (sha512)",
    "offsets: PATCH of a part that is there (sha256)",
    "offsets: PATCH of a part that is there (sha512)",
    "offsets: PUT out of order (sha256)",
    "offsets: PUT out of order (sha512)",
    "offsets: PATCH with another length than its Content-Range",
    "offsets: PATCH with a bad Content-Range",
    // Two PATCHes at once are both taken, or the second finds no upload (404).
    "offsets: two PATCHes at once (sha256)",
    "offsets: two PATCHes at once (sha512)",
    // A range beyond the end, backwards or malformed drops the connection after the head; of an empty
    // blob it is 206.
    "ranges: 5000-10000 is 416 (sha256)",
    "ranges: 5000-10000 is 416 (sha512)",
    "ranges: 500-0 is 416 (sha256)",
    "ranges: 500-0 is 416 (sha512)",
    "ranges: of an empty blob",
    "ranges: no range at all",
    // A mount without `from` is no mount: 202.
    "mounts: without from (sha256)",
    "mounts: without from (sha512)",
    // Foreign URLs are 500 where `validation.manifests.urls` is not configured.
    "manifests: layers at foreign URLs (sha256)",
    // A manifest of any length is asked for.
    "manifests: a manifest of 100 MB announced",
    // An index is 404 for who does not ask for indexes.
    "manifests: Accept of another type",
    // If-None-Match knows one bare digest only: no `W/`, no list, no `*`.
    "manifests: ETag and If-None-Match (sha256)",
    // A digest that is none is 500, as a tag with a colon is.
    "manifests: bad digests",
    "names: what is no tag",
    // `null` as a manifest is 500.
    "manifests: no manifest at all",
    // Tags are in no order; n and last are ignored, and there is never a Link.
    "tags: sorted, each once, the new one at once",
    "tags: n",
    "tags: last",
    "tags: n=0 is nothing, without a Link",
    "tags: a huge n is not refused",
    "tags: pages by Link, relative and quoted",
    // More than 1000 of the catalog are refused (400).
    "tags: _catalog with n=0 and a huge n",
    // No tag can be deleted: 400 DIGEST_INVALID.
    "delete: a tag leaves its manifest and other tags",
    "delete: the last tag leaves an empty list",
    "delete: an unknown tag",
    // A path that climbs, or has empty components, is cleaned by a redirect (301).
    "names: what is no name",
    "hostile: paths that climb",
    "hostile: paths with empty components",
    // The tag parameter is ignored, a bad one too.
    "dev: ?tag= on a push by digest (sha256)",
    "dev: ?tag= that is no tag (sha256)",
    // An index must be whole: 400 MANIFEST_BLOB_UNKNOWN.
    "dev: an index whose images are not there (sha256)",
    // A name too long is 500, with all of it in the answer.
    "hostile: a URL of 1 MB",
    // Content-Length beside Transfer-Encoding, and folded headers, are taken.
    "hostile: Content-Length with Transfer-Encoding",
    "hostile: a header folded over lines",
    // A chunk that is none is 500.
    "hostile: a bad chunk",
];

/// Of the checks of a server that only gives.
pub const READ_ONLY_DEFECTS: &[&str] = &[
    // If-None-Match knows one bare digest only.
    "read-only: ETag and If-None-Match of a manifest",
    // A range beyond the end drops the connection after the head.
    "read-only: ranges beyond the end",
    // No referrers.
    "read-only: referrers",
    // Writes to an upload are 404; 405 comes in plain text.
    "read-only: every write is 403 or 405",
    "read-only: a refused write is error JSON",
    // As above.
    "hostile: paths that climb",
    "hostile: paths with empty components",
    "hostile: a URL of 1 MB",
    "hostile: Content-Length with Transfer-Encoding",
    "hostile: a header folded over lines",
];
