//! Searching: Docker Hub's own API; elsewhere the list of repositories.
//!
//! It knows no image. The API is the one that `docker search` uses.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::registry::fetch;
use crate::registry::host::{Host, Redirects};
use crate::registry::http::url::encode;

/// A repository that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path within the registry.
    pub path: String,
    /// What its owner says about it; may be empty.
    pub description: String,
    /// How many like it, where the registry counts.
    pub stars: u64,
    /// Whether the registry vouches for it.
    pub official: bool,
}

/// The host of Docker Hub that can be searched.
pub(crate) const HUB: &str = "index.docker.io";
/// Most results that Docker Hub gives at once.
const MAX: usize = 100;
/// Largest answer, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// What Docker Hub finds for a term.
pub(crate) fn hub(host: &Host, term: &str, limit: usize) -> Result<Vec<Found>> {
    let url = format!("/v1/search?q={}&n={}", encode(term), limit.clamp(1, MAX));
    let accept = [("accept", "application/json".to_owned())];
    let answer = fetch::get(host, &url, &accept, &[], Redirects::Any, MAX_BYTES)?;
    if answer.status != 200 {
        return Err(host.explain("GET search", answer.status, &answer.fault()));
    }
    let named = |e: Error| e.input(host.name());
    answer.expect_no_page("a search").map_err(named)?;
    let value: Value = serde_json::from_slice(&answer.bytes)
        .map_err(|e| named(Error::malformed(format!("a search result that is not JSON: {e}"))))?;
    let results = value.get("results").and_then(Value::as_array);
    Ok(results.into_iter().flatten().take(limit).filter_map(found).collect())
}

fn found(value: &Value) -> Option<Found> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let path = text("name");
    (!path.is_empty()).then(|| Found {
        path: path.to_owned(),
        description: text("description").to_owned(),
        stars: value.get("star_count").and_then(Value::as_u64).unwrap_or_default(),
        official: value.get("is_official").and_then(Value::as_bool).unwrap_or_default(),
    })
}

/// What a list of repositories holds for a term.
pub(crate) fn among(paths: Vec<String>, term: &str, limit: usize) -> Vec<Found> {
    let term = term.to_lowercase();
    let hits = paths.into_iter().filter(|path| path.contains(&term)).take(limit);
    let plain = |path| Found { path, description: String::new(), stars: 0, official: false };
    hits.map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_a_list_is_searched() {
        let value = serde_json::json!({"name": "nginx", "description": "web", "star_count": 7,
            "is_official": true});
        let want =
            Found { path: "nginx".into(), description: "web".into(), stars: 7, official: true };
        assert_eq!(found(&value), Some(want));
        assert_eq!(found(&serde_json::json!({"star_count": 7})), None);
        let list = ["a/nginx", "b/web", "c/my-nginx"].map(String::from).to_vec();
        let hits: Vec<String> = among(list, "NGINX", 5).into_iter().map(|f| f.path).collect();
        assert_eq!(hits, ["a/nginx", "c/my-nginx"]);
    }
}
