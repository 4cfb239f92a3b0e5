//! stub
use imgpack::Result;
#[derive(Default)]
pub(crate) struct Filters {
    pub(crate) reference: Vec<String>,
    pub(crate) before: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) labels: Vec<(String, Option<String>)>,
    pub(crate) dangling: Option<bool>,
}
impl Filters {
    pub(crate) fn parse(_: &[String]) -> Result<Self> {
        Ok(Self::default())
    }
    pub(crate) fn matches_reference(&self, _: &imgpack::reference::Reference) -> bool {
        true
    }
}
