//! Faults on several interfaces together: where one fails, none stays.

use std::fmt::Display;

use crate::error::{Code, Failure};

/// What became of the other interfaces, where one failed.
#[derive(Default)]
pub(super) struct RolledBack {
    /// Those that are as before, the last first.
    pub undone: Vec<String>,
    /// Those that are not, each with the reason.
    pub kept: Vec<String>,
    /// How many had not been touched.
    pub untried: usize,
}

impl RolledBack {
    /// Why all failed, because one did.
    pub(super) fn failure(self, place: &impl Display, failure: Failure) -> Failure {
        let list = |what: &str, names: Vec<String>| {
            (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
        };
        let parts = [
            Some(format!("{place}: {}", failure.message)),
            list("rolled back", self.undone),
            list("not rolled back", self.kept),
            (self.untried > 0).then(|| format!("not tried: {} more", self.untried)),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        Failure {
            hint: failure.hint,
            ..Failure::new(Code::Refused, parts.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_failed_and_what_became_of_the_others() {
        let cause = Failure::new(Code::Conflict, "it is busy").hint("stop it");
        let failure = RolledBack {
            undone: vec!["veth1".into(), "veth0".into()],
            untried: 3,
            ..RolledBack::default()
        };
        let failure = failure.failure(&"veth2", cause);
        assert_eq!(
            failure.message,
            "veth2: it is busy; rolled back: veth1, veth0; not tried: 3 more"
        );
        assert_eq!(failure.code, Code::Refused);
        assert_eq!(failure.hint.as_deref(), Some("stop it"));
    }
}
