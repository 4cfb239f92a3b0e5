//! Challenges of a registry: `WWW-Authenticate`, parsed leniently.
//!
//! It knows no credentials. RFC 9110 section 11.6.1: several challenges may stand in one header and in
//! several; values are tokens or quoted strings.

use crate::registry::http::Response;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a realm.
    Bearer(Bearer),
}

/// Where a token comes from, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The URL that gives out tokens.
    pub(crate) realm: String,
    /// Who the token is for.
    pub(crate) service: Option<String>,
    /// What the refused request needed, scopes parted by spaces.
    pub(crate) scope: Option<String>,
    /// `invalid_token`, `insufficient_scope`.
    pub(crate) error: Option<String>,
}

/// Longest header that is parsed, in bytes.
const MAX_HEADER: usize = 16 << 10;

/// The challenge of an answer to act on: the first `Bearer` that names a realm, else `Basic`.
pub(crate) fn of(response: &Response) -> Option<Challenge> {
    let headers = response.headers.iter().filter(|(name, _)| name == "www-authenticate");
    let all: Vec<Challenge> = headers.flat_map(|(_, value)| parse(value)).collect();
    let bearer = all.iter().find(|c| matches!(c, Challenge::Bearer(_)));
    bearer.or(all.first()).cloned()
}

/// The challenges of one header that we can answer.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut all = Vec::new();
    let mut open: Option<(String, Vec<(String, String)>)> = None;
    let mut rest = header.get(..MAX_HEADER).unwrap_or(header);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            match after.chars().next() {
                None => break,
                // An equals sign where no name is.
                Some(c) => rest = &after[c.len_utf8()..],
            }
            continue;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) if open.is_some() => {
                let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
                if let Some((_, params)) = &mut open {
                    params.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            Some(value) => rest = value,
            None => {
                all.extend(open.take().and_then(finish));
                open = Some((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    all.extend(open.and_then(finish));
    all
}

/// A token or a quoted string, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => value.push(c),
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn finish((scheme, params): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| {
        let found = params.iter().find(|(n, v)| n == name && !v.is_empty());
        found.map(|(_, v)| v.clone())
    };
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer(Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
            error: get("error"),
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let some = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        let (service, scope) = (some(service), some(scope));
        Challenge::Bearer(Bearer { realm: realm.into(), service, scope, error: None })
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#;
        for (header, want) in [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                hub,
                vec![bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    "repository:library/nginx:pull,push",
                )],
            ),
            ("BEARER realm=https://a/t , service = b", vec![bearer("https://a/t", "b", "")]),
            (
                r#"Negotiate, Bearer realm="https://a/t", Basic realm="q, \"uo\" ted""#,
                vec![bearer("https://a/t", "", ""), Challenge::Basic],
            ),
            (r#"Bearer realm="https://a/\"t\\", scope="#, vec![bearer("https://a/\"t\\", "", "")]),
            ("Bearer service=\"a\"", vec![]),
            ("Digest realm=\"a\", nonce=\"b\"", vec![]),
            ("=,= ,\"", vec![]),
            ("Bearer realm=\"unclosed", vec![bearer("unclosed", "", "")]),
            ("", vec![]),
        ] {
            assert_eq!(parse(header), want, "{header}");
        }
    }

    #[test]
    fn a_bearer_with_a_realm_goes_before_basic() {
        let headers = ["Basic realm=\"x\"", "Bearer realm=\"https://a/t\""]
            .map(|v| ("www-authenticate".to_owned(), v.to_owned()));
        let response = |headers: &[(String, String)]| Response {
            status: 401,
            headers: headers.to_vec(),
            url: String::new(),
            body: Box::new(std::io::empty()),
        };
        assert_eq!(of(&response(&headers)), Some(bearer("https://a/t", "", "")));
        assert_eq!(of(&response(&headers[..1])), Some(Challenge::Basic));
        assert_eq!(of(&response(&[])), None);
    }
}
