//! What a token allows: scopes merged, ordered and compared.
//!
//! It knows no token. Grammar: the distribution project's "Token Scope Documentation".

use crate::registry::http::Scope;

/// The scope for pulling from a repository.
pub(crate) fn pull(path: &str) -> Scope {
    Scope(format!("repository:{path}:pull"))
}

/// The scope for pushing to a repository.
pub(crate) fn push(path: &str) -> Scope {
    Scope(format!("repository:{path}:pull,push"))
}

/// The scope for deleting from a repository.
pub(crate) fn delete(path: &str) -> Scope {
    Scope(format!("repository:{path}:pull,push,delete"))
}

/// The scope for listing all repositories.
pub(crate) fn catalog() -> Scope {
    Scope("registry:catalog:*".into())
}

/// The resource (`repository:a/b`) and the actions on it.
fn parts(scope: &str) -> (&str, Vec<&str>) {
    match scope.rsplit_once(':') {
        Some((resource, actions)) => (resource, actions.split(',').collect()),
        None => (scope, Vec::new()),
    }
}

/// The repository of a scope.
pub(crate) fn repository(scope: &Scope) -> Option<&str> {
    parts(&scope.0).0.strip_prefix("repository:")
}

/// One scope for each resource, in the order given; those with `push` first, since some registries look
/// at the first only.
pub(crate) fn merge<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Vec<Scope> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for scope in scopes {
        let (resource, actions) = parts(scope);
        let at = all.iter().position(|(r, _)| *r == resource).unwrap_or_else(|| {
            all.push((resource, Vec::new()));
            all.len() - 1
        });
        for action in actions {
            if !all[at].1.contains(&action) {
                all[at].1.push(action);
            }
        }
    }
    all.sort_by_key(|(_, actions)| !actions.contains(&"push"));
    all.into_iter().map(|(r, a)| Scope(format!("{r}:{}", a.join(",")))).collect()
}

/// Whether a token for `have` serves for `want`.
pub(crate) fn covers(have: &[Scope], want: &[Scope]) -> bool {
    want.iter().all(|want| {
        let (resource, actions) = parts(&want.0);
        have.iter().map(|s| parts(&s.0)).any(|(r, all)| {
            r == resource && (all.contains(&"*") || actions.iter().all(|a| all.contains(a)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_merge_by_resource_and_push_goes_first() {
        for (scopes, want) in [
            (vec!["repository:a/b:pull"], vec!["repository:a/b:pull"]),
            (
                vec!["repository:a/b:pull", "repository:a/b:pull,push"],
                vec!["repository:a/b:pull,push"],
            ),
            (
                vec!["repository:src:pull", "repository:dst:push,pull"],
                vec!["repository:dst:push,pull", "repository:src:pull"],
            ),
            (vec!["registry:catalog:*"], vec!["registry:catalog:*"]),
        ] {
            let merged: Vec<String> = merge(scopes).into_iter().map(|s| s.0).collect();
            assert_eq!(merged, want);
        }
    }

    #[test]
    fn a_token_for_more_serves_for_less() {
        for (have, want, yes) in [
            (vec![push("a")], vec![pull("a")], true),
            (vec![pull("a")], vec![push("a")], false),
            (vec![push("a")], vec![pull("b")], false),
            (vec![push("a"), pull("b")], vec![push("a"), pull("b")], true),
            (vec![Scope("repository:a:*".into())], vec![delete("a")], true),
            (vec![], vec![], true),
            (vec![pull("a")], vec![], true),
        ] {
            assert_eq!(covers(&have, &want), yes, "{have:?} {want:?}");
        }
        assert_eq!(repository(&pull("a/b")), Some("a/b"));
        assert_eq!(repository(&catalog()), None);
    }
}
