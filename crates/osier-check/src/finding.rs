//! One thing that was noticed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::registry::{Code, Level};

/// Something that a check noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing it is; the level comes from the registry.
    pub code: Code,
    /// What was noticed, in one clause.
    pub message: String,
    /// Where in the files of the project, as `file:line`, if known.
    pub place: Option<String>,
    /// What was seen, line by line.
    pub evidence: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// How much it weighs.
    pub fn level(&self) -> Level {
        self.code.level()
    }
}

/// Place and message, as one line.
impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        out.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_stored_by_its_code_and_read_again() {
        let finding = Finding {
            code: Code::NotDelivered,
            message: "component a: 1 file is left out".to_owned(),
            place: Some("manifest:3".to_owned()),
            evidence: vec!["bin/a".to_owned()],
            hint: None,
        };
        let text = serde_json::to_string(&finding).unwrap();
        assert_eq!(
            text,
            r#"{"code":"N001","message":"component a: 1 file is left out","place":"manifest:3","evidence":["bin/a"],"hint":null}"#
        );
        assert_eq!(serde_json::from_str::<Finding>(&text).unwrap(), finding);
        assert!(serde_json::from_str::<Finding>(&text.replace("N001", "N999")).is_err());
        assert_eq!(finding.to_string(), "manifest:3: component a: 1 file is left out");
    }
}
