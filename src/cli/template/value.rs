//! A value while a template runs, and whether it is foreign.
//!
//! It must not know templates: it is what `eval`, `func` and `print` hand to one another.

use serde_json::Value;
use std::borrow::Cow;

/// A value at run time.
#[derive(Clone, Debug)]
pub(super) struct Val<'a> {
    pub(super) value: Cow<'a, Value>,
    /// It holds no foreign text, or only escaped.
    pub(super) clean: bool,
}

impl<'a> Val<'a> {
    /// A value of the template's own.
    pub(super) fn own(value: impl Into<Value>) -> Self {
        Self { value: Cow::Owned(value.into()), clean: true }
    }

    /// A value of the data.
    pub(super) fn foreign(value: &'a Value) -> Self {
        Self { value: Cow::Borrowed(value), clean: false }
    }

    /// A value made from this one, as clean as it.
    pub(super) fn derive(&self, value: impl Into<Value>) -> Self {
        Self { value: Cow::Owned(value.into()), clean: self.clean }
    }

    /// What `pick` finds in the value, without copying what is borrowed.
    pub(super) fn part(&self, pick: impl FnOnce(&Value) -> Option<&Value>) -> Option<Self> {
        let value = match &self.value {
            Cow::Borrowed(value) => Cow::Borrowed(pick_in(value, pick)?),
            Cow::Owned(value) => Cow::Owned(pick(value)?.clone()),
        };
        Some(Self { value, clean: self.clean })
    }

    /// What `if` takes for true.
    pub(super) fn truth(&self) -> bool {
        match &*self.value {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(value) => value.as_f64() != Some(0.0),
            Value::String(value) => !value.is_empty(),
            Value::Array(value) => !value.is_empty(),
            Value::Object(value) => !value.is_empty(),
        }
    }
}

/// Ties the lifetime of the part to that of the whole, which a closure's own signature does not.
fn pick_in(value: &Value, pick: impl FnOnce(&Value) -> Option<&Value>) -> Option<&Value> {
    pick(value)
}
