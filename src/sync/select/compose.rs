//! Images that a Compose file names, with those of the files that it includes and extends.
//!
//! It starts nothing, fetches nothing and reads no environment: variables are passed in, and files at a URL
//! are reported and skipped. Compose specification, `services.*.image`, `services.*.extends`, `include`.

use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;

use crate::error::{Error, Result};
use crate::io::look;
use crate::reference::Reference;
use crate::sync::select::{self, Selection, WantedImages};

mod variables;

use variables::{dotenv, fill};

pub use variables::Variables;

/// Longest chain of files that include one another, and of services that extend one another.
const MAX_DEPTH: usize = 16;
/// Most files that one file leads to.
const MAX_FILES: usize = 1_000;

/// Reads a Compose file and the files that it includes; a `.env` file beside each is read first, and
/// `variables` go before it.
///
/// # Errors
/// `Missing` naming the file that leads to one that is not there, `Io`, `Malformed`, also for files
/// that lead to one another in a circle.
pub fn file(path: &Path, variables: &Variables) -> Result<Selection> {
    let mut reader = Reader::default();
    let text = select::read(path)?;
    reader.file(path, &text, None, variables)?;
    Ok(reader.selection)
}

/// A file while it is read.
struct Place<'a> {
    path: &'a Path,
    variables: &'a Variables,
}

impl Place<'_> {
    fn shown(&self) -> String {
        crate::text::escape(&self.path.display().to_string()).into_owned()
    }

    /// A file that this one leads to, relative to it; nothing for what is no file of this machine.
    fn beside(&self, written: &str) -> Result<Option<PathBuf>> {
        let written = fill(written, self.variables).map_err(|e| e.input_or(self.shown()))?;
        let remote = written.contains("://") || written.starts_with("git@");
        let folder = self.path.parent().unwrap_or(Path::new(""));
        Ok((!remote).then(|| folder.join(written)))
    }

    /// The text of a file that this one leads to.
    fn read(&self, path: &Path, how: &str) -> Result<String> {
        select::read(path).map_err(|e| e.note(format!("{} {how} it", self.shown())))
    }
}

#[derive(Default)]
struct Reader {
    selection: Selection,
    /// Files that lead to the one that is read, the first one first.
    chain: Vec<PathBuf>,
    files: usize,
}

impl Reader {
    /// Reads the text of a file. `env` is the file of variables, where it is not `.env` beside it.
    fn file(
        &mut self,
        path: &Path,
        text: &str,
        env: Option<PathBuf>,
        variables: &Variables,
    ) -> Result<()> {
        let shown = || path.display().to_string();
        let own = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if self.chain.contains(&own) {
            return Err(
                Error::malformed("includes itself, perhaps by way of others").input(shown())
            );
        }
        self.files += 1;
        if self.chain.len() >= MAX_DEPTH || self.files > MAX_FILES {
            let what = format!("more than {MAX_DEPTH} files deep, or {MAX_FILES} in all");
            return Err(Error::malformed(format!("includes lead to {what}")).input(shown()));
        }
        let beside = env.unwrap_or_else(|| path.with_file_name(".env"));
        let mut all = if look::is_file(&beside)? {
            dotenv(&select::read(&beside)?)
        } else {
            Variables::new()
        };
        all.extend(variables.clone());
        self.chain.push(own);
        let place = Place { path, variables: &all };
        let done = self.document(text, &place).map_err(|e| e.input_or(shown()));
        self.chain.pop();
        done
    }

    fn warn(&mut self, place: &Place<'_>, text: &str) {
        self.selection.warn(format!("{}: {text}", place.path.display()));
    }

    fn document(&mut self, text: &str, place: &Place<'_>) -> Result<()> {
        let doc = select::document(text)?;
        match &doc["include"] {
            Value::Null => {}
            Value::Sequence(items) => {
                items.iter().try_for_each(|item| self.include(item, place))?;
            }
            _ => return Err(Error::malformed("include is not a list")),
        }
        let Value::Mapping(services) = &doc["services"] else {
            let nothing = doc["include"].is_null();
            return if nothing { Err(Error::malformed("has no services")) } else { Ok(()) };
        };
        for (name, service) in services {
            let shown = crate::text::escape(name.as_str().unwrap_or("?")).into_owned();
            let mut seen = vec![(self.chain.last().cloned().unwrap_or_default(), shown.clone())];
            let found = image(service, &doc, place, &mut seen)?;
            self.service(&shown, &found, place);
        }
        Ok(())
    }

    /// `include: [FILE]` or `include: [{path: FILE or [FILE], env_file: FILE}]`.
    fn include(&mut self, item: &Value, place: &Place<'_>) -> Result<()> {
        let env = match item["env_file"].as_str() {
            Some(written) => place.beside(written)?,
            None => None,
        };
        for written in strings(item).into_iter().chain(strings(&item["path"])) {
            match place.beside(written)? {
                Some(path) => {
                    let text = place.read(&path, "includes")?;
                    self.file(&path, &text, env.clone(), place.variables)?;
                }
                None => {
                    let written = crate::text::escape(written).into_owned();
                    self.warn(place, &format!("{written} is not a local file and is not included"));
                }
            }
        }
        Ok(())
    }

    fn service(&mut self, name: &str, found: &Image, place: &Place<'_>) {
        let Some(image) = &found.name else {
            let why = match (found.built, &found.remote) {
                (true, _) => "is built here and names no image".to_owned(),
                (false, Some(url)) => {
                    let url = crate::text::escape(url);
                    format!("extends {url}, which is not a local file and is not read")
                }
                (false, None) => "names no image".to_owned(),
            };
            return self.warn(place, &format!("service {name} {why}"));
        };
        match fill(image, place.variables) {
            Ok(image) => match image.parse::<Reference>() {
                Ok(image) => {
                    if found.built {
                        let image = image.familiar();
                        let what = format!("service {name} is built here; {image} is wanted too");
                        self.warn(place, &what);
                    }
                    self.selection.add(WantedImages::Image(image.or_latest()));
                }
                Err(e) => self.fail(place, name, e),
            },
            Err(e) => self.fail(place, name, e),
        }
    }

    fn fail(&mut self, place: &Place<'_>, service: &str, error: Error) {
        self.selection.fail(format!("{}: service {service}", place.path.display()), error);
    }
}

/// What a service says of its image, by itself or through the one that it extends.
#[derive(Default)]
struct Image {
    name: Option<String>,
    built: bool,
    /// A service at a URL, which is not looked up.
    remote: Option<String>,
}

/// The image of a service of the document `doc`. `seen` are the services that lead here.
fn image(
    service: &Value,
    doc: &Value,
    place: &Place<'_>,
    seen: &mut Vec<(PathBuf, String)>,
) -> Result<Image> {
    let mut found = Image {
        name: service["image"].as_str().map(str::to_owned),
        built: !service["build"].is_null(),
        remote: None,
    };
    let extends = &service["extends"];
    let base = extends.as_str().or_else(|| extends["service"].as_str());
    let (None, Some(base)) = (&found.name, base) else { return Ok(found) };
    let shown = crate::text::escape(base).into_owned();
    let missing = |path: &Path| {
        let at = path.display();
        let what = format!("a service extends {shown} of {at}, which has no such service");
        Error::missing(what).input(place.shown())
    };
    let (path, other) = match extends["file"].as_str() {
        None => (place.path.to_path_buf(), None),
        Some(written) => {
            let Some(path) = place.beside(written)? else {
                found.remote = Some(written.to_owned());
                return Ok(found);
            };
            let text = place.read(&path, "extends a service of")?;
            let other = select::document(&text);
            (path.clone(), Some(other.map_err(|e| e.input_or(path.display().to_string()))?))
        }
    };
    let key = (std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone()), base.to_owned());
    if seen.contains(&key) || seen.len() > MAX_DEPTH {
        let what = format!("service {shown} extends itself, or more than {MAX_DEPTH} others");
        return Err(Error::malformed(what).input(path.display().to_string()));
    }
    seen.push(key);
    let doc = other.as_ref().unwrap_or(doc);
    let service = &doc["services"][base];
    if service.is_null() {
        return Err(missing(&path));
    }
    let place = Place { path: &path, variables: place.variables };
    let from = image(service, doc, &place, seen)?;
    Ok(Image { built: found.built || from.built, ..from })
}

/// A string, or the strings of a list.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Sequence(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files in a folder; the first one is read.
    fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Selection>) {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let given = [("TAG".to_owned(), "1.27".to_owned())].into();
        let found = file(&temp.path().join(files[0].0), &given);
        (temp, found)
    }

    fn names(selection: &Selection) -> Vec<String> {
        let shown = |w: &WantedImages| match w {
            WantedImages::Image(name) => name.familiar(),
            other => other.to_string(),
        };
        selection.wanted.iter().map(shown).collect()
    }

    #[test]
    fn services_that_are_built_are_told() {
        let text = "\
x-web: &web {image: 'nginx:${TAG}'}
services:
  web: {<<: *web, ports: ['80:80']}
  db: {image: postgres}
  own: {build: .}
  both: {build: ., image: r.local/own:1}
  open: {image: 'a:${NO}'}
";
        let (temp, found) = read(&[("c.yaml", text)]);
        let found = found.unwrap();
        assert_eq!(names(&found), ["nginx:1.27", "postgres:latest", "r.local/own:1"]);
        let at = temp.path().join("c.yaml");
        let warnings = [
            "service own is built here and names no image",
            "service both is built here; r.local/own:1 is wanted too",
        ];
        let (place, error) = &found.failed[0];
        assert_eq!(place, &format!("{}: service open", at.display()));
        assert_eq!(error.what(), "variable NO is not set");
        assert_eq!(found.warnings, warnings.map(|w| format!("{}: {w}", at.display())));
        assert!(read(&[("c.yaml", "a: 1")]).1.is_err());
    }

    #[test]
    fn a_file_beside_it_gives_defaults() {
        let (_temp, found) = read(&[
            ("c.yaml", "services: {a: {image: 'a:$TAG'}, b: {image: 'b:$B'}}"),
            (".env", "# c\nTAG=1 # one\nexport B=\"2\"\n"),
        ]);
        assert_eq!(names(&found.unwrap()), ["a:1.27", "b:2"]);
    }

    #[test]
    fn files_that_are_included_and_extended_are_read_where_they_lie() {
        let (_temp, found) = read(&[
            (
                "c.yaml",
                "include: [sub/one.yaml, {path: [sub/two.yaml], env_file: two.env}]\n\
                 services:\n  a: {extends: {file: base/b.yaml, service: web}}\n  \
                 b: {extends: a, build: .}\n  c: {extends: {file: base/b.yaml, service: web}, image: own:1}\n",
            ),
            ("sub/one.yaml", "services: {x: {image: 'one:$A-$TAG'}}"),
            ("sub/.env", "A=5\nTAG=no\n"),
            ("sub/two.yaml", "include: [../three.yaml]\nservices: {x: {image: 'two:$A'}}"),
            ("two.env", "A=6\n"),
            ("three.yaml", "services: {x: {image: 'three:1'}}"),
            ("base/b.yaml", "services: {web: {extends: {file: c.yaml, service: deep}}}"),
            ("base/c.yaml", "services: {deep: {image: 'deep:$TAG'}}"),
        ]);
        let found = found.unwrap();
        assert_eq!(names(&found), ["one:5-1.27", "three:1", "two:6", "deep:1.27", "own:1"]);
        assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    }

    #[test]
    fn circles_and_missing_files_are_errors_and_urls_are_passed_over() {
        let circle = ("b.yaml", "include: [c.yaml]");
        let ring = "services: {a: {extends: b}, b: {extends: {file: c.yaml, service: a}}}";
        for (text, words) in [
            ("include: [c.yaml]", "includes itself"),
            ("include: [b.yaml]", "includes itself"),
            ("include: [gone.yaml]", "c.yaml includes it"),
            ("include: ['x$NO.yaml']", "NO is not set"),
            ("include: x.yaml", "not a list"),
            ("services: {a: {extends: {file: gone.yaml, service: a}}}", "c.yaml extends a service"),
            ("services: {a: {extends: gone}}", "has no such service"),
            ("services: {a: {extends: a}}", "extends itself"),
            (ring, "extends itself"),
        ] {
            let error = read(&[("c.yaml", text), circle]).1.unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep: Vec<(String, String)> =
            (0..40).map(|i| (format!("{i}.yaml"), format!("include: [{}.yaml]", i + 1))).collect();
        let deep: Vec<(&str, &str)> = deep.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert!(read(&deep).1.unwrap_err().to_string().contains("files deep"));
        let urls = "include: ['https://x.example/c.yaml', 'git@x.example:a/b.git']\n\
                    services: {a: {extends: {file: 'oci://x.example/c', service: a}}}\n";
        let found = read(&[("c.yaml", urls)]).1.unwrap();
        assert!(found.is_empty());
        assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
        // Twice the same file is no circle.
        let twice =
            [("c.yaml", "include: [b.yaml, b.yaml]"), ("b.yaml", "services: {a: {image: a}}")];
        assert_eq!(names(&read(&twice).1.unwrap()), ["a:latest"]);
    }
}
