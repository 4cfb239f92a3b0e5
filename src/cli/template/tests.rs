//! Templates against what docker 28 prints for the same document.

use super::*;
use imgpack::Kind;
use serde_json::json;

fn document() -> Value {
    json!({
        "Id": "sha256:0123456789abcdef0123456789abcdef",
        "RepoTags": ["busybox:latest", "b:1"],
        "Size": 4_261_550,
        "Mounts": [{"Source": "/x", "N": 1}, {"Source": "/y", "N": 2}],
        "Config": {
            "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
            "Env": ["A=1", "B=2"],
            "Labels": {"z": "1", "a": "2"},
            "Foo": {"q": 1}
        },
        "s": "hello world", "i": 42, "f": 1.5, "b": true, "n": null,
        "l": ["a", "b"], "e": [], "m": {"z": "1", "a": "2"}, "big": 1_234_567_890_123_i64,
        "nest": {"k": {"q": [1, 2, [3]]}}, "es": "", "u": "héllo é", "html": "<a&b>", "neg": -3
    })
}

fn render(src: &str) -> Result<String> {
    Template::parse(src)?.render(&document())
}

fn check(table: &[(&str, &str)]) {
    for (src, want) in table {
        match render(src) {
            Ok(found) => assert_eq!(found, *want, "{src}"),
            Err(err) => panic!("{src}: {err}"),
        }
    }
}

fn check_errors(table: &[(&str, &str)]) {
    for (src, want) in table {
        match render(src) {
            Ok(found) => panic!("{src} gave {found:?}"),
            Err(err) => {
                assert_eq!(
                    err.to_string(),
                    format!("template parsing error: template: {want}"),
                    "{src}"
                );
                assert_eq!(err.kind(), Kind::Usage);
            }
        }
    }
}

#[test]
fn values_print_as_in_go() {
    check(&[
        ("", ""),
        ("plain } {{\"}}\"}} text", "plain } }} text"),
        ("{{.i}} {{.f}} {{.b}} {{.big}} {{.neg}}", "42 1.5 true 1234567890123 -3"),
        ("{{.l}} {{.e}} {{.nest}} {{.m}}", "[a b] [] map[k:map[q:[1 2 [3]]]] map[a:2 z:1]"),
        ("{{.n}}|{{print .n}}|{{printf \"%v\" .n}}", "<no value>|<nil>|<nil>"),
        ("{{.nest.k.q}}{{.Config.Labels.zz}}", "[1 2 [3]]<no value>"),
        (
            "{{1.5}} {{0x10}} {{1e3}} {{true}} {{'a'}} {{-7}} {{1_000}}",
            "1.5 16 1000 true 97 -7 1000",
        ),
        ("{{`raw\\n`}} {{\"a\\tb\\u00e9\\x41\\\"\\101\"}}", "raw\\n a\tbéA\"A"),
        ("a\\tb", "a\\tb"),
    ]);
}

#[test]
fn the_examples_of_docker_work() {
    check(&[
        ("{{range $p, $conf := .Config.ExposedPorts}}{{$p}} {{end}}", "443/tcp 80/tcp "),
        ("{{json .Config.Foo}}", "{\"q\":1}"),
        ("{{json .html}}", "\"<a&b>\""),
        ("{{index .RepoTags 0}}", "busybox:latest"),
        ("{{(index .Mounts 0).Source}}", "/x"),
        ("{{index .nest \"k\" \"q\" 2 0}}", "3"),
        (
            "{{index .Config.Labels \"zz\"}}|{{index .n \"x\"}}|{{index .Config \"zz\"}}",
            "||<no value>",
        ),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{join .l \",\"}} {{join .e \",\"}}", "a,b "),
        ("{{.Id | printf \"%.12s\"}}", "sha256:01234"),
        ("{{(split .Id \":\") | len}} {{index (split .Id \":\") 0}}", "2 sha256"),
        (
            "{{pad .s 1 2}}|{{pad .es 1 2}}|{{truncate .s 3}}|{{truncate .u 99}}",
            " hello world  ||hel|héllo é",
        ),
        (
            "{{title .s}}|{{upper .s}}|{{\"AB\" | lower}}|{{split .s \" \"}}",
            "Hello World|HELLO WORLD|ab|[hello world]",
        ),
    ]);
}

#[test]
fn blocks_choose_and_repeat() {
    check(&[
        ("{{if .es}}a{{else if .e}}b{{else if .i}}c{{else}}d{{end}}", "c"),
        ("{{if .n}}a{{else}}d{{end}}", "d"),
        ("{{with .s}}{{.}}{{else}}x{{end}}", "hello world"),
        ("{{with .n}}{{else with .s}}{{.}}{{end}}", "hello world"),
        ("{{with $x := .m}}{{$x.a}}{{.z}}{{end}}", "21"),
        ("{{range .n}}x{{else}}none{{end}}{{range .e}}x{{else}}none{{end}}", "nonenone"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i, $e := .l}}{{if $i}}, {{end}}{{$i}}{{$e}}{{end}}", "0a, 1b"),
        ("{{range $v := .m}}{{$v}}{{end}}{{range .m}}{{.}}{{end}}", "2121"),
        ("{{range .l}}{{.}}{{break}}{{end}}{{range .l}}{{continue}}{{.}}{{end}}", "a"),
        ("{{range .Mounts}}{{.Source}}={{$.i}} {{end}}", "/x=42 /y=42 "),
        ("{{range split \"a,b\" \",\"}}[{{.}}]{{end}}", "[a][b]"),
        ("{{$x := .i}}{{$x}} {{$x = 3}}{{$x}} {{$.i}}", "42 3 42"),
        (
            "{{$x := 1}}{{range .l}}{{$x = .}}{{end}}{{$x}}{{if true}}{{$x := 9}}{{$x}}{{end}}{{$x}}",
            "b9b",
        ),
    ]);
}

#[test]
fn trim_markers_and_comments_vanish() {
    check(&[
        ("{{/* c */}}a {{- \"b\" -}} c", "abc"),
        ("a \n{{- /* c }} */ -}}\n b", "ab"),
        ("{{- 3 -}}", "3"),
        ("{{-3}} x", "-3 x"),
        ("{{if true -}}\n x\n{{- end}}\n", "x\n"),
        ("{{\n.i\n}}", "42"),
    ]);
}

#[test]
fn comparison_and_logic_follow_go() {
    check(&[
        (
            "{{lt 1 2}} {{ge 2 2}} {{eq 1 2 1}} {{ne \"a\" \"b\"}} {{le \"a\" \"b\"}} {{gt 1 2}}",
            "true true true true true false",
        ),
        ("{{eq .i 42}} {{gt .Size 1000}} {{eq .n nil}} {{lt .f 2}}", "true true true true"),
        ("{{and .es 1}} {{or .es \"x\"}} {{not .es}} {{and 1 2 3}}", " x true 3"),
        ("{{or true (index .l 9)}} {{and false (index .l 9)}}", "true false"),
        ("{{\"x\" | upper | printf \"%s-%s\" \"y\"}}", "y-X"),
        ("{{len .l}} {{len .s}} {{len .u}} {{len .m}} {{json .s | len}}", "2 11 9 2 13"),
        ("{{slice .s 1 3}} {{slice .l 1}} {{slice .s}}", "el [b] hello world"),
    ]);
}

#[test]
fn printf_follows_go() {
    check(&[
        ("{{print 1 2 \"a\" \"b\" 3}}|{{println \"a\" 1}}|", "1 2ab3|a 1\n|"),
        ("{{.s | printf \"%-15s|%.3s|\" \"q\"}}", "q              |hel|"),
        (
            "{{printf \"%s %d %q %v %x\" .s .i .s .l \"hi\"}}",
            "hello world 42 \"hello world\" [a b] 6869",
        ),
        ("{{printf \"%d\"}} {{printf \"%d\" 3 4}}", "%!d(MISSING) 3%!(EXTRA int=4)"),
        ("{{printf \"%5d|%-5d|%05d|%x\" 3 4 5 255}}", "    3|4    |00005|ff"),
        (
            "{{printf \"%z\" 3}} {{printf \"%t\" .b}} {{printf \"%6.2f\" 3.14159}} {{printf \"%%\"}}",
            "%!z(int=3) true   3.14 %",
        ),
        (
            "{{printf \"%d\" \"a\"}} {{printf \"%q\" .l}} {{printf \"%+d %05d\" 3 -3}}",
            "%!d(string=a) [\"a\" \"b\"] +3 -0003",
        ),
        ("{{printf \"%*d|%\" 4 3}}", "   3|%!(NOVERB)"),
        ("{{printf \"%99999999999d\" 3}}", "%!(BADWIDTH)3"),
    ]);
}

#[test]
fn errors_read_as_in_docker() {
    check_errors(&[
        (".{{.Foo}}", ":1:3: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        ("{{.Foo}}", ":1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        (
            "{{.Config.Nope}}",
            ":1:9: executing \"\" at <.Config.Nope>: map has no entry for key \"Nope\"",
        ),
        (
            "ab\n{{  .Config.Foo.q.r}}",
            ":2:11: executing \"\" at <.Config.Foo.q.r>: can't evaluate field r in type interface {}",
        ),
        ("{{.n.x}}", ":1:4: executing \"\" at <.n.x>: nil pointer evaluating interface {}.x"),
        ("{{.s.x}}", ":1:4: executing \"\" at <.s.x>: can't evaluate field x in type interface {}"),
        (
            "{{index .l 5}}",
            ":1:2: executing \"\" at <index .l 5>: error calling index: index out of range: 5",
        ),
        (
            "{{index .l \"x\"}}",
            ":1:2: executing \"\" at <index .l \"x\">: error calling index: cannot index slice/array with type string",
        ),
        (
            "{{range .s}}x{{end}}",
            ":1:8: executing \"\" at <.s>: range can't iterate over hello world",
        ),
        ("{{nil}}", ":1:2: executing \"\" at <nil>: nil is not a command"),
        ("{{len .n}}", ":1:2: executing \"\" at <len .n>: error calling len: len of nil pointer"),
        (
            "{{and}}",
            ":1:2: executing \"\" at <and>: wrong number of args for and: want at least 1 got 0",
        ),
        ("{{json}}", ":1:2: executing \"\" at <json>: wrong number of args for json: want 1 got 0"),
        (
            "{{\"a\" \"b\"}}",
            ":1:2: executing \"\" at <\"a\">: can't give argument to non-function \"a\"",
        ),
        ("{{.s \"x\"}}", ":1:2: executing \"\" at <.s>: s is not a method but has arguments"),
        ("{{$y}}", ":1: undefined variable \"$y\""),
        ("{{foo}}", ":1: function \"foo\" not defined"),
        ("{{if}}", ":1: missing value for if"),
        ("{{}}", ":1: missing value for command"),
        ("{{.i", ":1: unclosed action"),
        ("{{", ":1: unclosed action"),
        ("a\n{{end}}", ":2: unexpected {{end}}"),
        ("{{else}}", ":1: unexpected {{else}}"),
        ("{{if .i}}", ":1: unexpected EOF"),
        ("{{.s.}}", ":1: unexpected <.> in operand"),
        ("{{(.s}}", ":1: unclosed left paren"),
        ("{{.s)}}", ":1: unexpected <)> in command"),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{\"a}}", ":1: unterminated quoted string"),
        ("{{`a}}", ":1: unterminated raw quoted string"),
        ("{{\"\\q\"}}", ":1: invalid escape in quoted string"),
        ("{{/* a}}", ":1: unclosed comment"),
        ("{{3x}}", ":1: bad number syntax: \"3x\""),
        ("{{.s | .s | 3}}", ":1: non executable command in pipeline stage 3"),
        ("{{template \"x\"}}", ":1: {{template}} is not supported"),
    ]);
}

#[test]
fn deep_nesting_is_refused_before_it_reaches_the_stack() {
    let parens = |n: usize| format!("{{{{{}1{}}}}}", "(".repeat(n), ")".repeat(n));
    assert_eq!(render(&parens(64)).expect("within the limit"), "1");
    let blocks = |n: usize| format!("{}x{}", "{{if true}}".repeat(n), "{{end}}".repeat(n));
    assert_eq!(render(&blocks(64)).expect("within the limit"), "x");
    let chain = format!("{{{{if false}}}}{}{{{{end}}}}", "{{else if false}}".repeat(100_000));
    for src in [parens(65), parens(1_000_000), blocks(65), blocks(100_000), chain] {
        let err = render(&src).expect_err("beyond the limit");
        assert!(err.to_string().ends_with("more than 64 levels of nesting"), "{err}");
    }
}

#[test]
fn foreign_text_cannot_forge_a_line_but_the_author_can_make_one() {
    let value = json!({"t": "a\nb\u{1b}[2J", "l": ["x\ny", "z"], "m": {"k\n": 1}, "c": "\u{9b}\u{202e}\u{7f}"});
    for (src, want) in [
        ("{{.t}}", "a\\x0ab\\x1b[2J"),
        ("{{upper .t}}", "A\\x0aB\\x1b[2J"),
        ("{{print .t \"\\n\"}}", "a\\x0ab\\x1b[2J\n"),
        ("{{join .l \"\\n\"}}", "x\\x0ay\nz"),
        ("{{range .l}}{{println .}}{{end}}", "x\\x0ay\nz\n"),
        ("{{.m}}{{range $k, $v := .m}}{{$k}}{{end}}", "map[k\\x0a:1]k\\x0a"),
        ("{{printf .t}}{{printf \"%s\\t\" .t}}", "a\\x0ab\\x1b[2Ja\\x0ab\\x1b[2J\t"),
        ("{{json .t}}", "\"a\\nb\\u001b[2J\""),
        ("{{json .c}}", "\"\\u009b\\u202e\\u007f\""),
        ("{{printf \"%q\" .c}}", "\"\\u009b\\u202e\\x7f\""),
        ("{{index (split .t \"b\") 0}}", "a\\x0a"),
        ("{{eq .t \"a\\nb\\x1b[2J\"}}", "true"),
    ] {
        let found = Template::parse(src).and_then(|it| it.render(&value)).expect(src);
        assert_eq!(found, want, "{src}");
    }
}

#[test]
fn the_format_argument_has_the_meaning_of_docker() {
    let shape = |text: &str| match Format::parse(text) {
        Ok(Format::Table(None)) => "table".to_string(),
        Ok(Format::Table(Some(template))) => format!("table of {}", template.src),
        Ok(Format::Json) => "json".to_string(),
        Ok(Format::Template(template)) => format!("template {}", template.src),
        Err(err) => err.to_string(),
    };
    for (text, want) in [
        ("", "table"),
        ("table", "table"),
        ("table  ", "table"),
        ("json", "json"),
        ("table {{.ID}}", "table of {{.ID}}"),
        ("table{{.ID}}", "table of {{.ID}}"),
        ("raw", "template raw"),
        ("tables", "template tables"),
        ("{{.ID}}", "template {{.ID}}"),
        ("{{", "template parsing error: template: :1: unclosed action"),
    ] {
        assert_eq!(shape(text), want, "{text}");
    }
}

#[test]
fn list_templates_read_tabs_and_newlines_written_out() {
    let Ok(Format::Template(template)) = Format::parse("{{.s}}\\t{{if .b}}\\n{{end}}{{\"\\\\t\"}}")
    else {
        panic!("a template");
    };
    assert_eq!(template.render(&document()).expect("valid"), "hello world\t\n\\t");
}

#[test]
fn a_table_takes_its_header_from_the_column_names() {
    let names =
        [("ID", "IMAGE ID"), ("Repository", "REPOSITORY"), ("Tag", "TAG"), ("Size", "SIZE")];
    let images = [
        json!({"ID": "0123456789ab", "Repository": "busybox", "Tag": "latest", "Size": "4.26MB"}),
        json!({"ID": "0123456789ab", "Repository": "b", "Tag": "1\t2\n3", "Size": "4.26MB"}),
    ];
    for (format, want) in [
        (
            "table {{.ID}}\\t{{.Repository}}\\t{{.Tag}}",
            "IMAGE ID       REPOSITORY   TAG\n\
             0123456789ab   busybox      latest\n\
             0123456789ab   b            1\\x092\\x0a3\n",
        ),
        (
            "table {{.ID | upper}} x\t{{json .Tag}} {{truncate .Size 3}}",
            "IMAGE ID x       TAG SIZE\n\
             0123456789AB x   \"latest\" 4.2\n\
             0123456789AB x   \"1\\t2\\n3\" 4.2\n",
        ),
    ] {
        let Ok(Format::Table(Some(template))) = Format::parse(format) else { panic!("{format}") };
        let rows = template.table(&names, &images).expect(format);
        assert_eq!(crate::cli::table::render(&rows), want);
    }
    let Ok(Format::Table(Some(template))) = Format::parse("table {{.Nope}}") else { panic!() };
    assert_eq!(template.table(&names, &[]).expect("a header"), [["<no value>"]]);
    assert!(template.table(&names, &images).is_err());
}
