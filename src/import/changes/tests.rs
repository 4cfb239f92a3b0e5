//! Instructions and what Docker 20.10's `docker import` made of the same ones.

use super::*;

fn of(lines: &[&str]) -> Result<Map<String, Value>> {
    changes(&lines.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn check(lines: &[&str], want: &Value) {
    let got = of(lines).unwrap_or_else(|e| panic!("{lines:?}: {e}"));
    assert_eq!(&Value::Object(got), want, "{lines:?}");
}

#[test]
fn commands_take_a_shell_unless_they_are_json() {
    check(&["CMD"], &json!({ "Cmd": ["/bin/sh", "-c"] }));
    check(&["CMD []"], &json!({}));
    check(&["ENTRYPOINT"], &json!({}));
    check(
        &["CMD echo $HOME", "entrypoint [\"a\",\"b\"]"],
        &json!({ "Entrypoint": ["a", "b"], "Cmd": ["/bin/sh", "-c", "echo $HOME"] }),
    );
    check(&["CMD [\"a\"] b"], &json!({ "Cmd": ["a"] }));
    check(&["CMD [\"a\",]"], &json!({ "Cmd": ["/bin/sh", "-c", "[\"a\",]"] }));
    check(&["CMD a \\\n# c\n b"], &json!({ "Cmd": ["/bin/sh", "-c", "a  b"] }));
    check(
        &["CMD a", "# comment", "USER b"],
        &json!({ "User": "b", "Cmd": ["/bin/sh", "-c", "a"] }),
    );
}

#[test]
fn env_is_quoted_escaped_and_expanded_as_in_a_dockerfile() {
    check(&["ENV a b c"], &json!({ "Env": ["a=b c"] }));
    check(
        &["ENV a=b c=$a d=\"x y\" e=x\\ y", "ENV c=${a:-z}${q:-z}${a:+w} f='$a'"],
        &json!({ "Env": ["a=b", "c=bzw", "d=x y", "e=x y", "f=$a"] }),
    );
    check(&["ENV a=1 a=2", "ENV a=3 A=4"], &json!({ "Env": ["a=3", "A=4"] }));
    check(
        &["ENV a=b#c", "ENV d=\"a\\\"b\"", "ENV e='a\\b' f=a\\\\b"],
        &json!({ "Env": ["a=b#c", "d=a\"b", "e=a\\b", "f=a\\b"] }),
    );
    check(&["ENV a \"b c\"  d"], &json!({ "Env": ["a=b c  d"] }));
    check(&["ENV a=$PATH", "ENV b=$a"], &json!({ "Env": ["a=", "b="] }));
    check(&["ENV a=\\$b c=\\\"d f=\"\\$x\\y\""], &json!({ "Env": ["a=$b", "c=\"d", "f=$x\\y"] }));
    check(&["ENV $x=1"], &json!({ "Env": ["=1"] }));
    check(&["ENV A=é B=$é C=${1}x$1y"], &json!({ "Env": ["A=é", "B=", "C=xy"] }));
    check(&["ENV a=${b:-${c:-d}}"], &json!({ "Env": ["a=d"] }));
    check(&["ENV b=$"], &json!({ "Env": ["b=$"] }));
    check(&["ENV b=$-x$."], &json!({ "Env": ["b=x$."] }));
    check(&["ENV a=b\\"], &json!({ "Env": ["a=b"] }));
}

#[test]
fn ports_are_normalised() {
    let port = |list: &[&str]| {
        let ports: Map<String, Value> = list.iter().map(|p| (p.to_string(), json!({}))).collect();
        json!({ "ExposedPorts": ports })
    };
    check(
        &["EXPOSE 80 90/udp 100-102 8080:81"],
        &port(&["100/tcp", "101/tcp", "102/tcp", "80/tcp", "81/tcp", "90/udp"]),
    );
    check(&["EXPOSE 80/TCP"], &port(&["80/tcp"]));
    check(&["EXPOSE 1.2.3.4:80:90"], &port(&["90/tcp"]));
    check(&["EXPOSE [::1]:80:81"], &port(&["81/tcp"]));
    check(&["EXPOSE 90-91:80-81"], &port(&["80/tcp", "81/tcp"]));
    check(&["EXPOSE :80", "EXPOSE 80/"], &port(&["80/tcp"]));
    check(&["EXPOSE $p"], &json!({}));
    let got = of(&["ENV p=\"80 81/udp\"", "EXPOSE $p"]).expect("split");
    assert_eq!(got["ExposedPorts"], port(&["80/tcp", "81/udp"])["ExposedPorts"]);
}

#[test]
fn health_checks_count_in_nanoseconds() {
    check(&["HEALTHCHECK NONE"], &json!({ "Healthcheck": { "Test": ["NONE"] } }));
    check(&["HEALTHCHECK --foo NONE"], &json!({ "Healthcheck": { "Test": ["NONE"] } }));
    check(
        &["HEALTHCHECK --interval=5s --timeout=1m --retries=3 --start-period=10ms CMD echo hi"],
        &json!({ "Healthcheck": {
            "Test": ["CMD-SHELL", "echo hi"],
            "Interval": 5_000_000_000u64,
            "Timeout": 60_000_000_000u64,
            "StartPeriod": 10_000_000,
            "Retries": 3
        } }),
    );
    check(
        &["HEALTHCHECK cmd [\"a\",\"b\"]"],
        &json!({ "Healthcheck": { "Test": ["CMD", "a", "b"] } }),
    );
    for (text, nanos) in [
        ("1h30m", Some(5_400_000_000_000)),
        ("1.5s", Some(1_500_000_000)),
        (".5ms", Some(500_000)),
        ("2us3ns", Some(2_003)),
        ("-1s", Some(-1_000_000_000)),
        ("0", Some(0)),
        ("", None),
        ("-", None),
        ("5", None),
        ("s", None),
        (".s", None),
        ("1x", None),
        ("9999999999h", None),
    ] {
        assert_eq!(duration(text), nanos, "{text}");
    }
}

#[test]
fn the_rest_is_as_dockers() {
    check(
        &["LABEL a=b \"c d\"=\"e f\" g=$h"],
        &json!({ "Labels": { "a": "b", "c d": "e f", "g": "" } }),
    );
    check(&["LABEL a b c"], &json!({ "Labels": { "a": "b c" } }));
    check(&["LABEL a=\" x \""], &json!({ "Labels": { "a": " x " } }));
    check(&["ENV a=1", "LABEL $a=x$a"], &json!({ "Env": ["a=1"], "Labels": { "1": "x1" } }));
    check(&["ONBUILD run   \"x\"   y"], &json!({ "OnBuild": ["run   \"x\"   y"] }));
    check(&["ONBUILD foo x"], &json!({ "OnBuild": ["foo x"] }));
    check(&["USER a b"], &json!({ "User": "a b" }));
    check(&["USER \"a\""], &json!({ "User": "a" }));
    check(&["USER $x"], &json!({}));
    check(&["VOLUME /a b/"], &json!({ "Volumes": { "/a": {}, "b/": {} } }));
    check(&["VOLUME [\"/a b\"]"], &json!({ "Volumes": { "/a b": {} } }));
    check(&["WORKDIR a", "WORKDIR b/../c"], &json!({ "WorkingDir": "/a/c" }));
    check(&["WORKDIR /x", "WORKDIR y"], &json!({ "WorkingDir": "/x/y" }));
    check(&["WORKDIR /a/../b//c/"], &json!({ "WorkingDir": "/a/../b//c/" }));
    check(&["WORKDIR a b"], &json!({ "WorkingDir": "/a b" }));
    check(
        &["WORKDIR /$a/x", "ENV a=1", "WORKDIR $a"],
        &json!({ "Env": ["a=1"], "WorkingDir": "/x/1" }),
    );
    for signal in ["9", "SIGKILL", "term", "RTMIN+3", "SIGRTMAX-14"] {
        let line = format!("STOPSIGNAL {signal}");
        check(&[line.as_str()], &json!({ "StopSignal": signal }));
    }
    check(&[], &json!({}));
}

#[test]
fn refusals_are_dockers() {
    for (line, want) in [
        ("FROM x", "from is not a valid change command"),
        ("Add a b", "add is not a valid change command"),
        ("foo", "foo is not a valid change command"),
        ("SHELL [\"a\"]", "shell is not a valid change command"),
        ("MAINTAINER x", "maintainer is not a valid change command"),
        ("", "file with no instructions"),
        ("# c", "file with no instructions"),
        ("CMD --foo bar", "Unknown flag: foo"),
        (
            "CMD [\"a\", 1]",
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("ENV", "ENV requires at least one argument"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV a$", "ENV must have two arguments"),
        ("ENV =b", "ENV names can not be blank"),
        ("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ("ENV a=${b", "failed to process \"${b\": missing ':' in substitution"),
        ("ENV a=${b-x}", "failed to process \"${b-x}\": missing ':' in substitution"),
        ("ENV a=${b:?x}", "failed to process \"${b:?x}\": b: x"),
        ("ENV a=${}", "failed to process \"${}\": syntax error: bad substitution"),
        ("ENV a=${b:", "failed to process \"${b:\": syntax error: missing '}'"),
        (
            "ENV a  \"b",
            "failed to process \"\\\"b\": unexpected end of statement while looking for matching \
             double-quote",
        ),
        (
            "ENV a='b",
            "failed to process \"'b\": unexpected end of statement while looking for matching \
             single-quote",
        ),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("EXPOSE x", "Invalid containerPort: x"),
        ("EXPOSE 5-3", "Invalid containerPort: 5-3"),
        ("EXPOSE 70000", "Invalid containerPort: 70000"),
        ("EXPOSE 80/abc", "Invalid proto: abc"),
        ("EXPOSE 90:80-81", "Invalid ranges specified for container and host Ports: 80-81 and 90"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK x", "Unknown type \"X\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK --foo=1 CMD x", "Unknown flag: foo"),
        ("HEALTHCHECK --interval CMD x", "Missing a value on flag: interval"),
        ("HEALTHCHECK --interval=1s --interval=2s CMD x", "Duplicate flag specified: interval"),
        ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries must be at least 1 (not -1)"),
        ("HEALTHCHECK --retries=x CMD x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("LABEL a", "LABEL must have two arguments"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD ENV a", "ENV must have two arguments"),
        ("USER", "USER requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME \"\"", "VOLUME specified can not be an empty string"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("WORKDIR \"\"", "cannot normalize nothing"),
        ("STOPSIGNAL foo", "Invalid signal: foo"),
    ] {
        let err = of(&[line]).map(|_| ()).expect_err(line);
        assert_eq!((err.kind(), err.what()), (Kind::Usage, want), "{line}");
    }
    let deep = format!("ENV a={}", "${b:-".repeat(100_000));
    assert!(of(&[deep.as_str()]).is_err(), "deep nesting");
    let deep = "ONBUILD ".repeat(100_000);
    assert!(of(&[deep.as_str()]).is_err(), "deep nesting");
}
