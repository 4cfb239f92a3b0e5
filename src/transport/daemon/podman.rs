//! podman, by its program: what to call, and what it lists.
//!
//! It reads no archive.

use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::transport::daemon::command::{ChildInput, ChildOutput, CommandLine, strings};

const PODMAN: &str = "podman";

/// Every image: its names, or its ID when it has none.
pub(super) fn names(ctx: &Context) -> Result<Vec<String>> {
    let listed =
        CommandLine::new(PODMAN, "images", &strings(&["images", "--format", "json"])).text(ctx)?;
    let images: Vec<Value> = serde_json::from_str(listed.trim())
        .map_err(|e| Error::malformed(format!("podman images: {e}")))?;
    Ok(images.iter().flat_map(names_of).collect())
}

fn names_of(image: &Value) -> Vec<String> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let names: Vec<String> =
        image["Names"].as_array().into_iter().flatten().filter_map(text).collect();
    if names.is_empty() { text(&image["Id"]).into_iter().collect() } else { names }
}

/// An archive of images. Docker's form, as it keeps the bytes of every config, and so every image ID.
pub(super) fn save(names: &[String], ctx: &Context) -> Result<ChildOutput> {
    let mut words = strings(&["save", "--quiet", "--format", "docker-archive"]);
    if names.len() > 1 {
        words.push("--multi-image-archive".into());
    }
    words.extend_from_slice(names);
    CommandLine::new(PODMAN, "save", &words).reading(ctx)
}

/// Takes an archive.
pub(super) fn load(ctx: &Context) -> Result<ChildInput> {
    CommandLine::new(PODMAN, "load", &strings(&["load", "--quiet"])).writing(ctx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_name_is_called_by_its_id() {
        let image = serde_json::json!({"Id": "ab", "Names": ["localhost/a:1", "localhost/b:1"]});
        assert_eq!(names_of(&image), ["localhost/a:1", "localhost/b:1"]);
        for names in [serde_json::json!(null), serde_json::json!([])] {
            assert_eq!(names_of(&serde_json::json!({"Id": "ab", "Names": names})), ["ab"]);
        }
    }
}
