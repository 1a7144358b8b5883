//! What was asked for against what came out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use crate::config::{Config, text};
use crate::merge::{Wanted, Wish};
use crate::value::{Value, line};

/// A wish that the final configuration does not honour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHonoured {
    /// The symbol without `CONFIG_`.
    pub symbol: String,
    /// The value that is asked for.
    pub wanted: Value,
    /// The value in the final configuration; `None` where the symbol is not mentioned.
    pub got: Option<Value>,
    /// The name of the fragment that asks.
    pub fragment: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// Why the wish was dropped, if that is known; [`check`] knows nothing of the dependencies of symbols.
    pub reason: Option<String>,
}

impl NotHonoured {
    /// Says what became of the wish, without its place.
    pub fn what(&self) -> String {
        let wish = line(&self.symbol, &self.wanted);
        let got = match &self.got {
            Some(got) => format!("the result has `{}`", line(&self.symbol, got)),
            None => "the result does not mention it".to_owned(),
        };
        let reason = self.reason.as_ref().map(|reason| format!(", because {reason}"));
        format!("`{wish}` is not honoured: {got}{}", reason.unwrap_or_default())
    }
}

impl fmt::Display for NotHonoured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.fragment, self.line, self.what())
    }
}

/// Finds the wishes that the final configuration does not honour, in either direction, sorted by
/// symbol. A symbol that is not mentioned counts as `n`.
pub fn check(wanted: &Wanted, result: &Config) -> Vec<NotHonoured> {
    let dropped = wanted.wishes.iter().filter(|(symbol, wish)| {
        !wish.value.is_honoured_by(result.get(symbol).unwrap_or(&Value::No))
    });
    dropped
        .map(|(symbol, Wish { value, fragment, line, .. })| NotHonoured {
            symbol: symbol.clone(),
            wanted: value.clone(),
            got: result.get(symbol).cloned(),
            fragment: fragment.clone(),
            line: *line,
            reason: without_modules(value, result),
        })
        .collect()
}

/// Says why a module is none where there are no modules at all.
fn without_modules(wanted: &Value, result: &Config) -> Option<String> {
    let none = *wanted == Value::Module && result.get("MODULES") != Some(&Value::Yes);
    none.then(|| "there are no modules without `CONFIG_MODULES=y`".to_owned())
}

/// The symbols that stand for an architecture as a whole, of Linux.
const ARCHITECTURES: &[&str] = &[
    "ARM",
    "ARM64",
    "LOONGARCH",
    "MIPS",
    "PPC",
    "PPC64",
    "RISCV",
    "S390",
    "SPARC",
    "X86",
    "X86_32",
    "X86_64",
];

/// Finds among wishes that are not honoured those for an architecture that the configuration is not for: fragments with
/// such a wish were written for another machine, and what else they wish for is not there for that reason.
pub fn foreign(dropped: &[NotHonoured]) -> Vec<&NotHonoured> {
    let foreign = |wish: &&NotHonoured| {
        wish.wanted == Value::Yes
            && wish.got != Some(Value::Yes)
            && ARCHITECTURES.contains(&wish.symbol.as_str())
    };
    dropped.iter().filter(foreign).collect()
}

/// Writes the smallest fragment that leads from `base` to `edited`, sorted by symbol.
///
/// A symbol that one of the two does not mention counts as `n` there.
pub fn difference(base: &Config, edited: &Config) -> String {
    let value = |config: &Config, symbol: &str| config.get(symbol).cloned().unwrap_or(Value::No);
    let symbols: BTreeSet<&String> = base.settings.keys().chain(edited.settings.keys()).collect();
    let changed: BTreeMap<&String, Value> = symbols
        .into_iter()
        .map(|symbol| (symbol, value(edited, symbol)))
        .filter(|(symbol, edited)| value(base, symbol) != *edited)
        .collect();
    text(changed.iter().map(|(symbol, value)| (*symbol, value)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Setting;
    use crate::merge::merge;
    use proptest::prelude::*;

    fn config(name: &str, text: &str) -> Config {
        Config::parse(name, text).unwrap()
    }

    #[test]
    fn both_directions() {
        let wanted = merge(&[config(
            "f",
            "CONFIG_YY=y\nCONFIG_YM=y\nCONFIG_YN=y\nCONFIG_YA=y\nCONFIG_MY=m\n# CONFIG_NY is not set\n\
             CONFIG_NN=n\nCONFIG_NA=n\nCONFIG_S=\"a\"\nCONFIG_T=\"t\"\nCONFIG_H=0x1F\nCONFIG_I=5\n\
             CONFIG_J=5\n",
        )]);
        let result = config(
            ".config",
            "CONFIG_YY=y\nCONFIG_YM=m\n# CONFIG_YN is not set\nCONFIG_MY=y\nCONFIG_NY=y\n\
             # CONFIG_NN is not set\nCONFIG_S=\"a\"\nCONFIG_T=\"u\"\nCONFIG_H=0x1f\nCONFIG_I=05\n\
             CONFIG_J=6\nCONFIG_MORE=y\nCONFIG_MODULES=y\n",
        );
        let findings = check(&wanted, &result);
        assert_eq!(
            findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "f:13: `CONFIG_J=5` is not honoured: the result has `CONFIG_J=6`",
                "f:5: `CONFIG_MY=m` is not honoured: the result has `CONFIG_MY=y`",
                "f:6: `# CONFIG_NY is not set` is not honoured: the result has `CONFIG_NY=y`",
                "f:10: `CONFIG_T=\"t\"` is not honoured: the result has `CONFIG_T=\"u\"`",
                "f:4: `CONFIG_YA=y` is not honoured: the result does not mention it",
                "f:2: `CONFIG_YM=y` is not honoured: the result has `CONFIG_YM=m`",
                "f:3: `CONFIG_YN=y` is not honoured: the result has `# CONFIG_YN is not set`",
            ]
        );
        let reason = Some("`PCI` is n".to_owned());
        assert_eq!(
            NotHonoured { reason, ..findings[4].clone() }.to_string(),
            "f:4: `CONFIG_YA=y` is not honoured: the result does not mention it, because `PCI` is n"
        );
    }

    #[test]
    fn a_module_without_modules_says_what_is_missing() {
        let wanted = merge(&[config("f", "CONFIG_A=m\nCONFIG_B=y\n")]);
        let findings = check(&wanted, &config("r", "CONFIG_A=y\n"));
        assert_eq!(
            findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "f:1: `CONFIG_A=m` is not honoured: the result has `CONFIG_A=y`, because there are no modules without `CONFIG_MODULES=y`",
                "f:2: `CONFIG_B=y` is not honoured: the result does not mention it",
            ]
        );
    }

    #[test]
    fn a_fragment_for_another_architecture_is_known_by_its_symbol() {
        let wanted = merge(&[
            config("common", "CONFIG_PCI=y\nCONFIG_NONE=y\n# CONFIG_X86 is not set\n"),
            config("arm", "CONFIG_ARM64=y\nCONFIG_SERIAL_AMBA_PL011=y\n"),
        ]);
        let findings = check(&wanted, &config("r", "CONFIG_X86=y\nCONFIG_PCI=y\n"));
        let found: Vec<String> = foreign(&findings).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["arm:1: `CONFIG_ARM64=y` is not honoured: the result does not mention it"]
        );
    }

    #[test]
    fn an_overridden_wish_is_not_checked() {
        let wanted = merge(&[config("a", "CONFIG_X=y\n"), config("b", "CONFIG_X=n\n")]);
        assert_eq!(check(&wanted, &config("r", "")), []);
    }

    #[test]
    fn smallest_fragment() {
        let base = config("base", "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=1\nCONFIG_D=y\n");
        let edited = config("edited", "CONFIG_A=y\nCONFIG_C=2\nCONFIG_E=m\nCONFIG_F=n\n");
        assert_eq!(difference(&base, &edited), "CONFIG_C=2\n# CONFIG_D is not set\nCONFIG_E=m\n");
    }

    /// A configuration of few symbols, so that two of them meet.
    pub(crate) fn arbitrary_config() -> impl Strategy<Value = Config> {
        let value = prop_oneof![
            Just(Value::No),
            Just(Value::Module),
            Just(Value::Yes),
            "[ -~é]{0,8}".prop_map(Value::Text),
            "-?[0-9]{1,3}|0[xX][0-9a-fA-F]{1,3}"
                .prop_map(|text| Value::parse(&text).expect("a number")),
        ];
        prop::collection::btree_map("[A-D][A-B_0-1]{0,2}", value, 0..12).prop_map(|values| {
            let setting = |(at, (symbol, value))| (symbol, Setting { value, line: at + 1 });
            let settings = values.into_iter().enumerate().map(setting).collect();
            Config { name: "arbitrary".into(), settings }
        })
    }

    /// Symbols that are set, without those that are `n`, which are the same as absent ones.
    fn set(values: impl Iterator<Item = (String, Value)>) -> BTreeMap<String, Value> {
        values.filter(|(_, value)| *value != Value::No).collect()
    }

    proptest! {
        #[test]
        fn everything_honours_itself(config in arbitrary_config()) {
            prop_assert_eq!(check(&merge(std::slice::from_ref(&config)), &config), []);
        }

        #[test]
        fn difference_leads_from_base_to_edited(base in arbitrary_config(), edited in arbitrary_config()) {
            let fragment = config("fragment", &difference(&base, &edited));
            let changes = fragment.settings.len();
            let wanted = merge(&[base.clone(), fragment]);
            let reached = set(wanted.wishes.into_iter().map(|(symbol, wish)| (symbol, wish.value)));
            let meant = edited.settings.iter().map(|(s, setting)| (s.clone(), setting.value.clone()));
            prop_assert_eq!(&reached, &set(meant));
            // None of the lines can be left out: each changes something.
            let before = set(base.settings.into_iter().map(|(s, setting)| (s, setting.value)));
            let differing = before.iter().filter(|(s, v)| reached.get(*s) != Some(v)).count()
                + reached.keys().filter(|s| !before.contains_key(*s)).count();
            prop_assert_eq!(changes, differing);
        }
    }
}
