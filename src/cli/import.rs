//! stub
use super::run::Run;
pub(crate) fn run<T>(_: &T, _: &Run) -> imgpack::Result<u8> {
    Ok(1)
}
