//! What registries are reported to do differently, as switches of the test registry.
//!
//! Every row is *as reported* in the threads it names; none was tested on the service itself. The
//! plain profile follows distribution-spec 1.1 to the letter.

use std::time::Duration;

/// How a registry knows its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// It does not ask.
    Open,
    /// `Authorization: Basic` on every request.
    Basic,
    /// The same, said at `/v2/` alone: elsewhere 401 has no challenge.
    BasicAtRoot,
    /// Tokens from a realm.
    Bearer,
}

/// How PATCH is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// As often as one likes.
    Any,
    /// Never: 405.
    Never,
    /// A second one only with `Content-Range`.
    Ranged,
}

/// What becomes of a request to mount a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// 201 when the source has it, else an upload session.
    Works,
    /// Always an upload session.
    Ignored,
    /// 401 when the source repository is not there.
    Refused,
    /// 400 without `from`.
    NeedsFrom,
}

/// How referrers are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// As the specification says.
    Api,
    /// With the type `application/json`.
    AsJson,
    /// 404.
    Absent,
    /// 303 to a page of HTML somewhere else.
    Html,
}

/// What the list of tags looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Sorted, all of them.
    Plain,
    /// `null` when there is none.
    Null,
    /// Digests among them.
    WithDigests,
}

/// The switches.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Whose behaviour it is.
    pub name: &'static str,
    /// The threads that report it.
    pub source: &'static str,
    /// How it knows its users.
    pub auth: Auth,
    /// How long tokens live.
    pub token_life: Duration,
    /// What POST to the realm with a password answers instead of a token.
    pub token_post: Option<u16>,
    /// A scope of a repository that is not there fails the whole token request.
    pub strict_scopes: bool,
    /// 401 to a request that carries a token has no challenge.
    pub silent_401: bool,
    /// How PATCH is taken.
    pub patch: Patch,
    /// The status of a PATCH that was taken.
    pub patch_status: u16,
    /// How many PATCH requests are answered with 404 first.
    pub patch_404: usize,
    /// Longest PATCH with `Content-Range`, else 416.
    pub chunk_max: Option<u64>,
    /// Shortest PATCH that is not the last, told by `OCI-Chunk-Min-Length`.
    pub chunk_min: Option<u64>,
    /// Longest body of any request, else 413 (proxies before registries).
    pub body_max: Option<u64>,
    /// Every PATCH is answered with `Range: 0-0`.
    pub stuck_range: bool,
    /// PATCH answers with the range of this request alone.
    pub chunk_range: bool,
    /// Whether the closing PUT may carry the blob.
    pub put_body: bool,
    /// Whether an upload session can be asked for its offset.
    pub session_status: bool,
    /// Whether an upload session outlives a broken request.
    pub keeps_sessions: bool,
    /// What becomes of mounts.
    pub mount: Mount,
    /// Whether repositories are to be created beforehand.
    pub must_exist: bool,
    /// Most components of a repository's path.
    pub max_depth: Option<usize>,
    /// Media types in a manifest, or of one, that are refused, and with which status and words.
    pub refuses: Option<(&'static str, u16, &'static str)>,
    /// What the list of tags looks like.
    pub tags: Tags,
    /// Largest `n` that lists take, else 400.
    pub page_max: Option<usize>,
    /// Entries of a page when `n` is absent.
    pub page: usize,
    /// How referrers are listed.
    pub referrers: Referrers,
    /// Whether `OCI-Subject` is answered to a manifest with a subject.
    pub oci_subject: bool,
    /// Blobs are redirected to another port, which refuses a request with `Authorization`.
    pub redirects: bool,
    /// An upload session needs no token: whoever has its location may write.
    pub open_sessions: bool,
    /// Sets a cookie, and refuses changes by who sends it back.
    pub cookie: bool,
    /// A tag that looks like a referrers tag stands for the digest it names.
    pub digest_tags: bool,
    /// Tells how many pulls are left.
    pub rate_headers: bool,
    /// Locations are absolute URLs.
    pub absolute: bool,
    /// Whether it deletes.
    pub deletes: bool,
    /// Whether it lists its repositories.
    pub catalog: bool,
}

/// The specification, and nothing else.
pub const PLAIN: Profile = Profile {
    name: "plain",
    source: "distribution-spec 1.1",
    auth: Auth::Open,
    token_life: Duration::from_secs(300),
    token_post: None,
    strict_scopes: false,
    silent_401: false,
    patch: Patch::Any,
    patch_status: 202,
    patch_404: 0,
    chunk_max: None,
    chunk_min: None,
    body_max: None,
    stuck_range: false,
    chunk_range: false,
    put_body: true,
    session_status: true,
    keeps_sessions: true,
    mount: Mount::Works,
    must_exist: false,
    max_depth: None,
    refuses: None,
    tags: Tags::Plain,
    page_max: None,
    page: 100,
    referrers: Referrers::Api,
    oci_subject: true,
    redirects: false,
    open_sessions: false,
    cookie: false,
    digest_tags: false,
    rate_headers: false,
    absolute: false,
    deletes: true,
    catalog: true,
};

/// Every registry of the table, as reported.
pub fn all() -> Vec<Profile> {
    let plain = PLAIN;
    vec![
        Profile {
            name: "ghcr",
            source: "ocx#237, rust-oci-client#35, wash#268, artifacthub#4785, flux#2050",
            auth: Auth::Bearer,
            chunk_max: Some(4 << 20),
            referrers: Referrers::Html,
            oci_subject: false,
            catalog: false,
            ..plain.clone()
        },
        Profile {
            name: "gar",
            source: "kitops#777, dotnet#287, skopeo#1101; c/image docker_client.go on its 401",
            auth: Auth::Bearer,
            token_post: Some(404),
            silent_401: true,
            patch: Patch::Never,
            absolute: true,
            catalog: false,
            ..plain.clone()
        },
        Profile {
            name: "ecr",
            source: "containers-roadmap#2831, #2860, #1459, dotnet/sdk#33019, ggcr#1091",
            auth: Auth::Basic,
            patch_status: 201,
            chunk_min: Some(5 << 20),
            stuck_range: true,
            session_status: false,
            mount: Mount::Ignored,
            must_exist: true,
            page_max: Some(1000),
            absolute: true,
            catalog: false,
            ..plain.clone()
        },
        Profile {
            name: "acr",
            source: "Azure/acr#217; containerd core/remotes/docker/auth/fetch.go on its POST",
            auth: Auth::Bearer,
            token_post: Some(400),
            redirects: true,
            ..plain.clone()
        },
        Profile {
            name: "hub",
            source: "rust-oci-client#235, ggcr#1681, hub-feedback#2372, roadmap#724",
            auth: Auth::Bearer,
            strict_scopes: true,
            referrers: Referrers::Absent,
            rate_headers: true,
            absolute: true,
            catalog: false,
            deletes: false,
            ..plain.clone()
        },
        Profile {
            name: "gitlab",
            source: "oras-go#1396; its 5-minute tokens, shortened",
            auth: Auth::Bearer,
            token_life: Duration::from_secs(1),
            referrers: Referrers::Absent,
            oci_subject: false,
            digest_tags: true,
            ..plain.clone()
        },
        Profile {
            name: "gitea",
            source: "dotnet#471, gitea#34795, gitea#34724",
            auth: Auth::Bearer,
            patch: Patch::Ranged,
            max_depth: Some(2),
            referrers: Referrers::Absent,
            oci_subject: false,
            ..plain.clone()
        },
        Profile {
            name: "aliyun",
            source: "skopeo#1645, hangar#238, regclient#627",
            auth: Auth::Bearer,
            max_depth: Some(2),
            refuses: Some(("application/vnd.oci.empty.v1+json", 403, "media type denied")),
            chunk_range: true,
            referrers: Referrers::Absent,
            oci_subject: false,
            ..plain.clone()
        },
        Profile {
            name: "swr",
            source: "regclient#720, image-syncer#161",
            auth: Auth::Bearer,
            max_depth: Some(2),
            refuses: Some((
                "application/vnd.in-toto+json",
                400,
                "Invalid image, fail to parse 'manifest.json'",
            )),
            referrers: Referrers::Absent,
            oci_subject: false,
            ..plain.clone()
        },
        Profile {
            name: "nexus",
            source: "skopeo#2409, nexus-public#967",
            auth: Auth::Basic,
            tags: Tags::Null,
            referrers: Referrers::Absent,
            oci_subject: false,
            ..plain.clone()
        },
        Profile {
            name: "artifactory",
            source: "buildx#196, containerd#3533, jib#3399, skopeo#2346; containerd fetch.go on its POST",
            auth: Auth::Bearer,
            token_post: Some(401),
            patch_404: 1,
            put_body: false,
            tags: Tags::WithDigests,
            absolute: true,
            ..plain.clone()
        },
        Profile {
            name: "harbor",
            source: "harbor#17097, #19690, #19174",
            auth: Auth::Bearer,
            mount: Mount::Refused,
            cookie: true,
            referrers: Referrers::AsJson,
            ..plain.clone()
        },
        Profile {
            name: "zot",
            source: "regclient#961; its option http.compat docker2s2",
            refuses: Some((
                "application/vnd.docker.distribution.manifest.v2+json",
                415,
                "manifest media type is not supported",
            )),
            ..plain.clone()
        },
        Profile {
            name: "quay",
            source: "quay#325; ggcr pkg/v1/remote/write.go on its mounts",
            auth: Auth::Bearer,
            mount: Mount::NeedsFrom,
            catalog: false,
            ..plain.clone()
        },
        Profile {
            name: "a gateway that challenges at /v2/ alone",
            source: "crane and skopeo ask there first",
            auth: Auth::BasicAtRoot,
            ..plain
        },
    ]
}
