//! What several fragments want together.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{Config, text};
use crate::value::{Value, line};

/// What fragments want together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Symbols without `CONFIG_`, with the wish that holds.
    pub wishes: BTreeMap<String, Wish>,
    /// Wishes that a later fragment changed, in the order of fragments and symbols.
    pub overrides: Vec<Override>,
}

/// A value that a fragment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The value.
    pub value: Value,
    /// The fragment's name.
    pub fragment: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The fragment's place in the row.
    pub(crate) rank: usize,
}

/// A wish that a later fragment changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The symbol without `CONFIG_`.
    pub symbol: String,
    /// The wish that is given up.
    pub earlier: Wish,
    /// The wish that holds, unless a third one follows.
    pub later: Wish,
}

impl fmt::Display for Override {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Override { symbol, earlier, later } = self;
        let said = |wish: &Wish| {
            format!("`{}` ({}:{})", line(symbol, &wish.value), wish.fragment, wish.line)
        };
        write!(out, "{} overrides {}", said(later), said(earlier))
    }
}

/// Writes changes into the text of a fragment: the lines that set a changed symbol go, all others stay, comments
/// included, and the changes come last.
pub fn amend(text: &str, changes: &Config) -> String {
    let stays = |line: &&str| {
        !Config::parse("", line)
            .is_ok_and(|one| one.settings.keys().any(|symbol| changes.get(symbol).is_some()))
    };
    let mut amended: String = text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect();
    amended.push_str(&changes.to_allconfig_text());
    amended
}

/// Joins fragments: of two that ask differently for a symbol the later one holds, and the pair is
/// recorded.
pub fn merge(fragments: &[Config]) -> Wanted {
    let mut wanted = Wanted::default();
    for (rank, fragment) in fragments.iter().enumerate() {
        for (symbol, setting) in &fragment.settings {
            let later = Wish {
                value: setting.value.clone(),
                fragment: fragment.name.clone(),
                line: setting.line,
                rank,
            };
            let earlier = wanted.wishes.insert(symbol.clone(), later.clone());
            if let Some(earlier) = earlier.filter(|earlier| earlier.value != later.value) {
                wanted.overrides.push(Override { symbol: symbol.clone(), earlier, later });
            }
        }
    }
    wanted
}

impl Wanted {
    /// Leaves of several members of one choice that are wished for the last one alone, as one at most can be `y`.
    ///
    /// `choices` has the members of a choice in each line, without `CONFIG_`.
    pub fn choose(&mut self, choices: &str) {
        for members in choices.lines() {
            let yes = |member: &&str| {
                self.wishes.get(*member).is_some_and(|wish| wish.value == Value::Yes)
            };
            let mut wished: Vec<&str> = members.split_whitespace().filter(yes).collect();
            wished
                .sort_by_key(|member| self.wishes.get(*member).map(|wish| (wish.rank, wish.line)));
            // A member may be described twice.
            wished.dedup();
            let Some(last) = wished.pop().and_then(|last| self.wishes.get(last)) else { continue };
            let last = Wish { value: Value::No, ..last.clone() };
            for symbol in wished {
                let earlier = self.wishes.insert(symbol.to_owned(), last.clone());
                if let Some(earlier) = earlier.filter(|earlier| earlier.value == Value::Yes) {
                    let (symbol, later) = (symbol.to_owned(), last.clone());
                    self.overrides.push(Override { symbol, earlier, later });
                }
            }
        }
    }

    /// Writes the wishes, sorted by symbol, as the text that `KCONFIG_ALLCONFIG` names.
    pub fn allconfig_text(&self) -> String {
        text(self.wishes.iter().map(|(symbol, wish)| (symbol, &wish.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_fragment_holds_and_the_pair_is_recorded() {
        let fragment = |name, text| Config::parse(name, text).unwrap();
        let wanted = merge(&[
            fragment("base", "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=1\n"),
            fragment("mid", "\nCONFIG_B=y\n# CONFIG_A is not set\n"),
            fragment("top", "CONFIG_A=m\nCONFIG_D=\"d\"\n"),
        ]);
        assert_eq!(wanted.allconfig_text(), "CONFIG_A=m\nCONFIG_B=y\nCONFIG_C=1\nCONFIG_D=\"d\"\n");
        assert_eq!(
            wanted.overrides.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "`# CONFIG_A is not set` (mid:3) overrides `CONFIG_A=y` (base:1)",
                "`CONFIG_A=m` (top:1) overrides `# CONFIG_A is not set` (mid:3)",
            ]
        );
        assert_eq!(wanted.wishes["B"].fragment, "mid");
    }

    #[test]
    fn of_a_choice_the_last_member_holds() {
        let fragment = |name, text| Config::parse(name, text).unwrap();
        let choices = "HZ_100 HZ_250 HZ_1000\n\nX Y\nHZ_1000 HZ_1000\n";
        let chosen = |fragments: &[Config]| {
            let mut wanted = merge(fragments);
            wanted.choose(choices);
            wanted
        };
        let base = fragment("a", "CONFIG_HZ_1000=y\nCONFIG_HZ_100=y\nCONFIG_X=m\nCONFIG_Y=y\n");
        let wanted = chosen(std::slice::from_ref(&base));
        assert_eq!(
            wanted.allconfig_text(),
            "CONFIG_HZ_100=y\n# CONFIG_HZ_1000 is not set\nCONFIG_X=m\nCONFIG_Y=y\n"
        );
        assert_eq!(
            wanted.overrides.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["`# CONFIG_HZ_1000 is not set` (a:2) overrides `CONFIG_HZ_1000=y` (a:1)"]
        );
        // A member of a later fragment counts for more than a higher line; one that was taken back does not count.
        let wanted = chosen(&[base, fragment("b", "CONFIG_HZ_250=y\n")]);
        let text = wanted.allconfig_text();
        assert!(
            text.starts_with(
                "# CONFIG_HZ_100 is not set\n# CONFIG_HZ_1000 is not set\nCONFIG_HZ_250=y\n"
            ),
            "{text}"
        );
        let wanted = chosen(&[
            fragment("a", "CONFIG_HZ_100=y\nCONFIG_HZ_250=y\n"),
            fragment("b", "# CONFIG_HZ_250 is not set\n"),
        ]);
        assert_eq!(wanted.allconfig_text(), "CONFIG_HZ_100=y\n# CONFIG_HZ_250 is not set\n");
    }

    #[test]
    fn an_amended_fragment_keeps_what_is_not_changed() {
        let changes = Config::parse("changes", "CONFIG_A=y\n# CONFIG_B is not set\n").unwrap();
        let text =
            "# why\nCONFIG_B=m\n\nCONFIG_C=1\n# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_AB=y";
        let amended = amend(text, &changes);
        assert_eq!(
            amended,
            "# why\n\nCONFIG_C=1\nCONFIG_AB=y\nCONFIG_A=y\n# CONFIG_B is not set\n"
        );
        assert_eq!(amend(&amended, &changes), amended);
        assert_eq!(amend("", &changes), changes.to_allconfig_text());
    }
}
