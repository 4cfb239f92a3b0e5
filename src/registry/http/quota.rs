//! How many pulls a registry still allows, from the headers of Docker Hub.
//!
//! It sends nothing and decides nothing. Docker Hub, "Pull usage and limits": `ratelimit-limit` and
//! `ratelimit-remaining` (`100;w=21600`: so many in so many seconds), `docker-ratelimit-source` (the
//! address or account they are counted for).

use std::time::Duration;

use crate::text;

use super::message::Response;

/// The remaining allowance as text; `None` when the response does not report it.
pub(super) fn left(response: &Response) -> Option<String> {
    let (left, own) = number(response.header("ratelimit-remaining")?)?;
    let (of, window) = response.header("ratelimit-limit").and_then(number).unzip();
    let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
    let window = own.or(window.flatten());
    let per = window.map(|w| format!(" in {}", time(w))).unwrap_or_default();
    let source = response.header("docker-ratelimit-source").filter(|s| s.len() <= 64);
    let source = source.map(|s| format!(", counted for {}", text::escape(s))).unwrap_or_default();
    Some(format!("{left}{of} pulls{per} left{source}"))
}

/// The same for a refusal, with the time after which there is more.
pub(crate) fn refused(response: &Response) -> Option<String> {
    let after = response.retry_after().filter(|after| !after.is_zero());
    let again = after.map(|after| format!("more in {}", time(after)));
    let all: Vec<String> = left(response).into_iter().chain(again).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// `100;w=21600`: a number and the window that it is for.
fn number(value: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = value.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window.map(Duration::from_secs)))
}

/// In hours, minutes or seconds, whichever is whole.
fn time(time: Duration) -> String {
    match time.as_secs() {
        s if s >= 3600 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_as_far_as_the_headers_go() {
        let (limit, left_76) = (("ratelimit-limit", "100;w=21600"), "76;w=21600");
        for (headers, want) in [
            (vec![limit, ("ratelimit-remaining", left_76)], Some("76 of 100 pulls in 6 h left")),
            (
                vec![limit, ("ratelimit-remaining", "0"), ("docker-ratelimit-source", "192.0.2.1")],
                Some("0 of 100 pulls in 6 h left, counted for 192.0.2.1"),
            ),
            (
                vec![limit, ("ratelimit-remaining", "0;w=21600"), ("retry-after", "120")],
                Some("0 of 100 pulls in 6 h left; more in 2 min"),
            ),
            (vec![("ratelimit-remaining", "5")], Some("5 pulls left")),
            (vec![("retry-after", "7")], Some("more in 7 s")),
            (vec![("ratelimit-remaining", "many")], None),
            (vec![limit], None),
        ] {
            let headers: Vec<(String, String)> =
                headers.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
            let url = String::new();
            let response = Response { status: 429, headers, url, body: Box::new(std::io::empty()) };
            assert_eq!(refused(&response).as_deref(), want);
        }
    }
}
