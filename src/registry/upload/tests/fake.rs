//! A registry held in memory, with the habits and faults of real ones.
//!
//! It knows of uploads nothing but the requests that come.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::registry::upload::answer::document;

/// What happens to one request instead of what should.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Cut after so many bytes of its body; the session keeps them when the registry does that.
    Cut(usize),
    /// It is done, and the answer lost.
    Lost,
    /// This status, with this code.
    Status(u16, &'static str),
}

/// Habits, as reported of the registries named.
#[derive(Clone, Debug, Default)]
pub(super) struct Habits {
    /// A cut ends the session (distribution 2.8).
    pub(super) forgets: bool,
    /// A cut request leaves nothing, but the session stays.
    pub(super) rolls_back: bool,
    /// Most bytes of a body before a 413 (nginx).
    pub(super) most: Option<usize>,
    /// 416 above 4 MiB with a Content-Range (GHCR).
    pub(super) ghcr: bool,
    /// 201 on PATCH, Range that stands still, no status (ECR).
    pub(super) ecr: bool,
    /// PATCH is refused with this status (GAR).
    pub(super) no_patch: Option<u16>,
    /// PUT with a body is refused (Artifactory).
    pub(super) no_put: bool,
    /// One PATCH without Content-Range per session (Gitea).
    pub(super) one_patch: bool,
    /// OCI-Chunk-Min-Length.
    pub(super) least: Option<usize>,
    /// The status says this many bytes less than it has, or more.
    pub(super) lies: i64,
    /// Sessions lie on another host.
    pub(super) elsewhere: bool,
    /// Sessions lie on another host, and in the clear.
    pub(super) bare: bool,
    /// Corrupts the first blob that was resumed.
    pub(super) corrupts: bool,
    /// Mounts from this repository.
    pub(super) mounts: Option<&'static str>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) next: u32,
    pub(super) sessions: BTreeMap<String, Vec<u8>>,
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    pub(super) log: Vec<String>,
    pub(super) received: usize,
    pub(super) patched: Vec<String>,
    pub(super) faults: Vec<(Method, u32, Fault)>,
    pub(super) corrupted: bool,
}

pub(super) struct Fake {
    pub(super) habits: Habits,
    pub(super) inner: Mutex<Inner>,
    pub(super) learned: HostCapabilities,
}

impl Fake {
    pub(super) fn new(habits: Habits, faults: &[(Method, u32, Fault)]) -> Self {
        let inner = Inner { faults: faults.to_vec(), ..Inner::default() };
        Self { habits, inner: Mutex::new(inner), learned: HostCapabilities::default() }
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.inner.lock().unwrap().log.clone()
    }

    pub(super) fn count(&self, start: &str) -> usize {
        self.log().iter().filter(|line| line.starts_with(start)).count()
    }

    pub(super) fn received(&self) -> usize {
        self.inner.lock().unwrap().received
    }
}

fn query<'u>(url: &'u str, key: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn unreachable() -> Error {
    Error::new(Kind::Unreachable, "reg.example: connection reset by peer")
}

impl Wire for Fake {
    fn send(&self, request: &HttpRequest<'_>) -> Result<Response> {
        let method = request.method;
        let own = request.url.strip_prefix("https://reg.example").unwrap_or(request.url);
        let path = own.split('?').next().unwrap().to_owned();
        let header =
            |name: &str| request.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        let range = header("content-range");
        let mut inner = self.inner.lock().unwrap();
        let name = format!("{method:?}").to_uppercase();
        let (size, open) = match &request.body {
            Body::Stream { size, open } => (usize::try_from(*size).unwrap(), Some(open)),
            _ => (0, None),
        };
        inner.log.push(format!("{name} {size} {}", range.unwrap_or("-")));
        let nth = inner.log.iter().filter(|l| l.starts_with(&format!("{name} "))).count() as u32;
        let at = inner.faults.iter().position(|(m, n, _)| *m == method && *n == nth);
        let fault = at.map(|at| inner.faults.remove(at).2);
        let habits = &self.habits;
        let answer = |status: u16, headers: Vec<(&str, String)>, code: &str| {
            let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            let message = if code == "GITEA" {
                "Stream uploads after first write are not allowed"
            } else {
                ""
            };
            let body: Box<dyn Read + Send> = match code {
                "" => Box::new(io::empty()),
                code => Box::new(io::Cursor::new(document(code, message))),
            };
            let there = path.starts_with("https://");
            let url = if there { path.clone() } else { format!("https://reg.example{path}") };
            Ok(Response { status, headers, url, body })
        };
        if let Some(Fault::Status(status, code)) = fault {
            return answer(status, vec![("retry-after", "0".into())], code);
        }
        if habits.most.is_some_and(|most| size > most) {
            return answer(413, vec![], "");
        }
        // The body, as far as it comes.
        let limit = match fault {
            Some(Fault::Cut(bytes)) => bytes,
            _ => usize::MAX,
        };
        let refused = habits.no_patch.filter(|_| method == Method::Patch);
        let mut body = Vec::new();
        if let Some(open) = open.filter(|_| refused.is_none()) {
            let read = open()?.take(limit.min(size) as u64).read_to_end(&mut body);
            if let Err(e) = read {
                return Err(Error::new(Kind::Unreachable, format!("sending: {e}")));
            }
        }
        inner.received += body.len();
        let cut = matches!(fault, Some(Fault::Cut(_)));
        let session = path.strip_prefix("/v2/team/app/blobs/uploads/").map(str::to_owned);
        let place = |inner: &mut Inner, id: &str| {
            inner.next += 1;
            let host = match (habits.elsewhere, habits.bare) {
                (true, _) => "https://storage.example",
                (_, true) => "http://storage.example",
                _ => "",
            };
            format!("{host}/v2/team/app/blobs/uploads/{id}?_state=a%2Fb{}", inner.next)
        };
        let own_path = path.strip_prefix("https://storage.example").map(str::to_owned);
        let session = session
            .or(own_path
                .and_then(|p| p.strip_prefix("/v2/team/app/blobs/uploads/").map(Into::into)));
        let response = match (method, session) {
            (Method::Head, _) => {
                let digest = path.rsplit('/').next().unwrap();
                match inner.blobs.get(digest) {
                    Some(blob) => answer(200, vec![("content-length", blob.len().to_string())], ""),
                    None => answer(404, vec![], ""),
                }
            }
            (Method::Post, Some(_)) => {
                if let (Some(from), Some(digest)) =
                    (query(request.url, "from"), query(request.url, "mount"))
                {
                    assert_eq!(request.scopes.len(), 2);
                    let known = habits.mounts == Some(&from.replace("%2F", "/"));
                    if known && !cut {
                        inner.blobs.insert(digest.replace("%3A", ":"), Vec::new());
                        return answer(201, vec![], "");
                    }
                }
                let id = format!("s{}", inner.sessions.len() + inner.next as usize);
                inner.sessions.insert(id.clone(), Vec::new());
                let mut headers = vec![("location", place(&mut inner, &id))];
                headers.push(("range", "0-0".into()));
                if let Some(least) = habits.least {
                    headers.push(("oci-chunk-min-length", least.to_string()));
                }
                answer(202, headers, "")
            }
            (Method::Get, Some(id)) => match inner.sessions.get(&id) {
                Some(held) if !habits.ecr => {
                    let told = (held.len() as i64 + habits.lies).max(0);
                    let location = place(&mut inner, &id);
                    let range = format!("0-{}", (told - 1).max(0));
                    answer(204, vec![("location", location), ("range", range)], "")
                }
                _ => answer(404, vec![], "BLOB_UPLOAD_UNKNOWN"),
            },
            (Method::Patch, Some(id)) => {
                if let Some(status) = refused {
                    return answer(status, vec![], "UNSUPPORTED");
                }
                let Some(held) = inner.sessions.get(&id).map(Vec::len) else {
                    return answer(404, vec![], "BLOB_UPLOAD_UNKNOWN");
                };
                let from = range.map(|r| r.split('-').next().unwrap().parse::<usize>().unwrap());
                if habits.one_patch && (inner.patched.contains(&id) || range.is_some()) {
                    return answer(400, vec![], "GITEA");
                }
                if from.is_some_and(|from| from != held)
                    || (habits.ghcr && range.is_some() && size > 4 * MIB)
                {
                    return answer(416, vec![], "");
                }
                assert!(
                    cut || habits.least.is_none_or(|l| size >= l || held + size >= 10 * MIB),
                    "a piece of {size}"
                );
                inner.patched.push(id.clone());
                if cut && habits.forgets {
                    inner.sessions.remove(&id);
                } else if !(cut && habits.rolls_back) {
                    let corrupt = habits.corrupts && held > 0 && !inner.corrupted;
                    inner.corrupted |= corrupt;
                    let held = inner.sessions.get_mut(&id).unwrap();
                    held.extend_from_slice(&body);
                    if corrupt {
                        *held.last_mut().unwrap() ^= 1;
                    }
                }
                let location = place(&mut inner, &id);
                let status = if habits.ecr { 201 } else { 202 };
                answer(status, vec![("location", location), ("range", "0-1".into())], "")
            }
            (Method::Put, Some(id)) => {
                let Some(mut held) = inner.sessions.remove(&id) else {
                    return answer(404, vec![], "BLOB_UPLOAD_UNKNOWN");
                };
                if habits.no_put && size > 0 {
                    return answer(404, vec![], "");
                }
                held.extend_from_slice(&body);
                if cut {
                    return Err(unreachable());
                }
                let want = query(request.url, "digest").unwrap().replace("%3A", ":");
                assert!(query(request.url, "_state").unwrap().starts_with("a%2Fb"));
                if Digest::of(&held).to_string() != want {
                    return answer(400, vec![], "DIGEST_INVALID");
                }
                inner.blobs.insert(want, held);
                answer(201, vec![], "")
            }
            (Method::Delete, Some(id)) => {
                inner.sessions.remove(&id);
                answer(204, vec![], "")
            }
            other => panic!("{other:?} {path}"),
        };
        if cut || matches!(fault, Some(Fault::Lost)) { Err(unreachable()) } else { response }
    }

    fn fault(&self, doing: &str, response: Response) -> Error {
        let kind = match response.status {
            401 | 403 => Kind::Denied,
            404 => Kind::Missing,
            _ => Kind::Other,
        };
        Error::new(kind, format!("{doing}: status {}", response.status))
    }
}
