//! stub
use imgpack::Result;
pub(crate) enum Format {
    Json,
    Table(Option<Template>),
    Template(Template),
}
pub(crate) struct Template;
impl Format {
    pub(crate) fn parse(s: &str) -> Result<Self> {
        Ok(match s {
            "json" => Self::Json,
            "table" => Self::Table(None),
            _ => Self::Template(Template),
        })
    }
}
impl Template {
    pub(crate) fn render(&self, _v: &serde_json::Value) -> Result<String> {
        Ok(String::new())
    }
    pub(crate) fn header(&self, _: &[(&str, &str)]) -> Result<Vec<String>> {
        Ok(vec![])
    }
}
