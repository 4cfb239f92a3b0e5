//! How to pull an image: the commands for docker, podman, ctr and kubectl.
//!
//! It knows no page. The address is the one that the browser used, so a copied command works on the
//! same machine. An invalid `Host` is not repeated.

use http::header;

use crate::reference::{is_domain, looks_like_host};
use crate::serve::request::Request;

/// Longest host, as in DNS, with a port.
const MAX_HOST: usize = 260;

/// Where the registry is, as the browser sees it.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// `localhost:5000`.
    pub host: String,
    secure: bool,
}

/// A program that pulls, and its line: `{image}` and `{name}` stand for the image.
pub(super) struct Tool {
    /// What it is called.
    pub name: &'static str,
    plain: &'static str,
    secure: &'static str,
}

/// The programs, in the order in which they are offered.
pub(super) const TOOLS: [Tool; 4] = [
    Tool { name: "docker", plain: "docker pull {image}", secure: "docker pull {image}" },
    Tool {
        name: "podman",
        plain: "podman pull --tls-verify=false {image}",
        secure: "podman pull {image}",
    },
    Tool {
        name: "ctr",
        plain: "ctr images pull --plain-http {image}",
        secure: "ctr images pull {image}",
    },
    Tool {
        name: "kubectl",
        plain: "kubectl run {name} --image={image}",
        secure: "kubectl run {name} --image={image}",
    },
];

impl Site {
    /// The one that a request came to.
    pub(super) fn of(request: &Request) -> Self {
        let valid = |host: &&str| host.len() <= MAX_HOST && is_domain(host);
        let host = request.header(header::HOST).filter(valid).unwrap_or("localhost");
        let host = match looks_like_host(host) {
            true => host.to_owned(),
            // A bare word before a slash would be a namespace of Docker Hub.
            false => format!("{host}:{}", if request.secure { 443 } else { 80 }),
        };
        Self { host, secure: request.secure }
    }

    /// An image here, by `nginx:1.27` or `nginx@sha256:…`.
    pub(super) fn image(&self, reference: &str) -> String {
        format!("{}/{reference}", self.host)
    }

    /// The line of a tool, its places still open.
    pub(super) fn template(&self, tool: &Tool) -> &'static str {
        if self.secure { tool.secure } else { tool.plain }
    }

    /// The line of a tool for an image.
    pub(super) fn line(&self, tool: &Tool, reference: &str) -> String {
        let filled = self.template(tool).replace("{name}", &pod(reference));
        filled.replace("{image}", &self.image(reference))
    }

    /// Whether docker must be told to trust plain HTTP here.
    pub(super) fn must_be_told(&self) -> bool {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        !(self.secure || name == "localhost" || name.starts_with("127.") || name == "[::1]")
    }
}

/// A name for a pod: the last part of the repository, as a DNS label.
pub(super) fn pod(reference: &str) -> String {
    let name = reference.split(['@', ':']).next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name: String = name.chars().map(|c| if "._".contains(c) { '-' } else { c }).collect();
    name.chars().take(63).collect::<String>().trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::route::Route;
    use http::{HeaderMap, HeaderValue, Method};

    fn site(host: &[u8], secure: bool) -> Site {
        let mut headers = HeaderMap::new();
        if let Ok(host) = HeaderValue::from_bytes(host) {
            headers.insert(header::HOST, host);
        }
        let route = Route::Page("/".into());
        Site::of(&Request { method: Method::GET, route, query: None, headers, secure })
    }

    #[test]
    fn the_address_is_what_the_browser_asked_for_unless_that_is_no_host() {
        for (host, secure, want) in [
            ("localhost:5000", false, "localhost:5000"),
            ("reg.example", true, "reg.example"),
            ("nas", false, "nas:80"),
            ("nas", true, "nas:443"),
            ("10.0.0.7:80", false, "10.0.0.7:80"),
            ("[fe80::1]:5000", false, "[fe80::1]:5000"),
            ("<script>", false, "localhost"),
            ("a b", false, "localhost"),
            ("a;rm -rf /", false, "localhost"),
            ("$(id).example", false, "localhost"),
            ("x/../y", false, "localhost"),
            ("", false, "localhost"),
            ("hôte", false, "localhost"),
        ] {
            assert_eq!(site(host.as_bytes(), secure).host, want, "{host}");
        }
        assert_eq!(site(&[b'a'; 300], false).host, "localhost");
    }

    #[test]
    fn each_tool_has_the_line_that_works_here() {
        let lines = |host: &str, secure: bool, image: &str| -> Vec<String> {
            let site = site(host.as_bytes(), secure);
            TOOLS.iter().map(|tool| site.line(tool, image)).collect()
        };
        assert_eq!(
            lines("localhost:5000", false, "a/my_app:v1"),
            [
                "docker pull localhost:5000/a/my_app:v1",
                "podman pull --tls-verify=false localhost:5000/a/my_app:v1",
                "ctr images pull --plain-http localhost:5000/a/my_app:v1",
                "kubectl run my-app --image=localhost:5000/a/my_app:v1",
            ]
        );
        assert_eq!(lines("reg.example", true, "app:1")[1], "podman pull reg.example/app:1");
    }

    #[test]
    fn docker_must_be_told_of_plain_http_that_is_not_on_this_machine() {
        for (host, secure, want) in [
            ("localhost:5000", false, false),
            ("127.0.0.1:5000", false, false),
            ("[::1]:5000", false, false),
            ("10.0.0.7:5000", false, true),
            ("reg.example", false, true),
            ("reg.example", true, false),
        ] {
            assert_eq!(site(host.as_bytes(), secure).must_be_told(), want, "{host}");
        }
    }
}
