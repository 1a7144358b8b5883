//! The text form of configurations and fragments.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::value::{Value, line};

const PREFIX: &str = "CONFIG_";
const NOT_SET: &str = " is not set";

/// A configuration, or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name for messages, usually that of the file.
    pub name: String,
    /// Symbols without `CONFIG_`, with what they are set to.
    pub settings: BTreeMap<String, Setting>,
}

/// What one line sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// The line that sets it, counted from 1.
    pub line: usize,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}:{}: {problem}", span.start + 1)]
pub struct ParseError {
    /// The configuration's name.
    pub name: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The whole line.
    pub text: String,
    /// The bytes of the line that are at fault, counted from 0.
    pub span: Range<usize>,
    /// What is wrong.
    pub problem: Problem,
    /// What to write instead.
    pub hint: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is none of the forms.
    #[error("not a setting")]
    Form,
    /// A symbol lacks its prefix.
    #[error("symbol `{0}` lacks the prefix `CONFIG_`")]
    Prefix(String),
    /// A symbol has other characters than letters, digits and `_`, or none.
    #[error("`{0}` is not the name of a symbol")]
    Symbol(String),
    /// A value is none of the forms.
    #[error("`{0}` is not a value")]
    Value(String),
    /// A comment looks like a setting but has other blanks, so Kconfig would skip it.
    #[error("a comment that only looks like a setting")]
    LooseNotSet,
    /// It holds a NUL byte, as a file in UTF-16 does.
    #[error("a NUL byte: this is not plain text")]
    Nul,
}

/// A fault within a line: where, what, and what to do.
struct Fault {
    span: Range<usize>,
    problem: Problem,
    hint: Option<String>,
}

impl Config {
    /// Reads a configuration or a fragment; `name` is for messages.
    ///
    /// A line is empty, a comment, `CONFIG_X=VALUE` or `# CONFIG_X is not set`. Of several lines for
    /// one symbol the last one counts. Every faulty line is reported, in order.
    pub fn parse(name: &str, text: &str) -> Result<Config, Vec<ParseError>> {
        let mut settings = BTreeMap::new();
        let mut errors = Vec::new();
        // Some editors begin a file with this mark of its encoding.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, text) in text.lines().enumerate() {
            let number = index + 1;
            let fault = match read(text) {
                Ok(None) => continue,
                Ok(Some((symbol, value))) => {
                    settings.insert(symbol.to_owned(), Setting { value, line: number });
                    continue;
                }
                Err(fault) => fault,
            };
            let encoded = fault.problem == Problem::Nul;
            errors.push(ParseError {
                name: name.to_owned(),
                line: number,
                text: text.to_owned(),
                span: fault.span,
                problem: fault.problem,
                hint: fault.hint,
            });
            // The lines below say the same.
            if encoded {
                break;
            }
        }
        if errors.is_empty() { Ok(Config { name: name.to_owned(), settings }) } else { Err(errors) }
    }

    /// Returns the value of a symbol, named without `CONFIG_`; `None` where it is not mentioned.
    pub fn get(&self, symbol: &str) -> Option<&Value> {
        self.settings.get(symbol).map(|setting| &setting.value)
    }

    /// Writes the configuration, sorted by symbol, in the form that [`Config::parse`], Kconfig and
    /// its `KCONFIG_ALLCONFIG` read.
    pub fn to_allconfig_text(&self) -> String {
        text(self.settings.iter().map(|(symbol, setting)| (symbol, &setting.value)))
    }
}

/// Writes settings, one a line.
pub(crate) fn text<'a>(settings: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    settings.map(|(symbol, value)| line(symbol, value) + "\n").collect()
}

/// What a line sets: a symbol and its value; nothing for a comment.
type Said<'a> = Option<(&'a str, Value)>;

/// Reads a line.
fn read(text: &str) -> Result<Said<'_>, Fault> {
    let trimmed = text.trim_ascii();
    let start = text.len() - text.trim_ascii_start().len();
    let span = start..start + trimmed.len();
    if let Some(at) = text.find('\0') {
        let hint = Some("save the file as plain text in UTF-8".to_owned());
        return Err(Fault { span: at..at + 1, problem: Problem::Nul, hint });
    }
    if trimmed.is_empty() {
        return Ok(None);
    }
    if let Some(comment) = trimmed.strip_prefix('#') {
        return read_comment(comment, span);
    }
    let fault = |problem, hint| Fault { span: span.clone(), problem, hint };
    let Some((left, value)) = trimmed.split_once('=') else {
        let hint = "write `CONFIG_X=y` or `# CONFIG_X is not set`; a comment begins with `#`";
        return Err(fault(Problem::Form, Some(hint.to_owned())));
    };
    let Some(symbol) = left.strip_prefix(PREFIX) else {
        if is_symbol(left) {
            let hint = Some(format!("write `CONFIG_{left}={value}`"));
            return Err(fault(Problem::Prefix(left.to_owned()), hint));
        }
        let hint = (left != left.trim_end()).then(|| "remove the spaces before `=`".to_owned());
        return Err(fault(Problem::Symbol(left.to_owned()), hint));
    };
    if !is_symbol(symbol) {
        let hint = (left != left.trim_end()).then(|| "remove the spaces before `=`".to_owned());
        return Err(fault(Problem::Symbol(left.to_owned()), hint));
    }
    match Value::parse(value) {
        Some(value) => Ok(Some((symbol, value))),
        None => Err(Fault {
            span: span.end - value.len()..span.end,
            problem: Problem::Value(value.to_owned()),
            hint: Some(value_hint(symbol, value)),
        }),
    }
}

/// Reads what follows a `#`.
fn read_comment(comment: &str, span: Range<usize>) -> Result<Said<'_>, Fault> {
    let mut words = comment.split_whitespace();
    let symbol = match words.next().and_then(|word| word.strip_prefix(PREFIX)) {
        Some(symbol) if words.eq(NOT_SET.split_whitespace()) && is_symbol(symbol) => symbol,
        _ => return Ok(None),
    };
    if comment
        .strip_prefix(' ')
        .and_then(|rest| rest.strip_suffix(NOT_SET))
        .is_some_and(|name| name.strip_prefix(PREFIX) == Some(symbol))
    {
        return Ok(Some((symbol, Value::No)));
    }
    let hint = Some(format!("write `{}`", line(symbol, &Value::No)));
    Err(Fault { span, problem: Problem::LooseNotSet, hint })
}

fn is_symbol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn value_hint(symbol: &str, value: &str) -> String {
    let trimmed = value.trim();
    let before_comment = trimmed.split('#').next().unwrap_or_default().trim();
    if value != trimmed && Value::parse(trimmed).is_some() {
        return "remove the spaces after `=`".to_owned();
    }
    if Value::parse(before_comment).is_some() {
        return "a comment needs a line of its own".to_owned();
    }
    match value {
        "Y" | "yes" | "Yes" | "YES" | "on" | "true" => format!("write `CONFIG_{symbol}=y`"),
        "M" | "module" => format!("write `CONFIG_{symbol}=m`"),
        "N" | "no" | "No" | "NO" | "off" | "false" => line(symbol, &Value::No),
        _ => "a value is y, m, n, a number, 0x and a hexadecimal number, or a text in `\"`"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form() {
        let text = "#\n# Linux 6.1\n\nCONFIG_A=y\r\n  CONFIG_B1=m \n# CONFIG_C is not set\n\
                    CONFIG_D=n\nCONFIG_E=\"a=b # c\"\nCONFIG_F=0x10\nCONFIG_64BIT=-3\n\
                    # CONFIG_A=n\n# CONFIG_A is not set by us\nCONFIG_A=y\n";
        let config = Config::parse("c", text).unwrap();
        let lines: Vec<String> = config
            .settings
            .iter()
            .map(|(symbol, setting)| format!("{symbol} {} {}", setting.value, setting.line))
            .collect();
        assert_eq!(
            lines,
            ["64BIT -3 10", "A y 13", "B1 m 5", "C n 6", "D n 7", "E \"a=b # c\" 8", "F 0x10 9"]
        );
        assert_eq!(
            config.to_allconfig_text(),
            "CONFIG_64BIT=-3\nCONFIG_A=y\nCONFIG_B1=m\n# CONFIG_C is not set\n\
             # CONFIG_D is not set\nCONFIG_E=\"a=b # c\"\nCONFIG_F=0x10\n"
        );
    }

    #[test]
    fn every_fault_in_exact_words() {
        let form = "write `CONFIG_X=y` or `# CONFIG_X is not set`; a comment begins with `#`";
        let value = "a value is y, m, n, a number, 0x and a hexadecimal number, or a text in `\"`";
        let table: &[(&str, Range<usize>, &str, &str)] = &[
            ("CONFIG_A", 0..8, "not a setting", form),
            (" A=y", 1..4, "symbol `A` lacks the prefix `CONFIG_`", "write `CONFIG_A=y`"),
            (
                "CONFIG_A =y",
                0..11,
                "`CONFIG_A ` is not the name of a symbol",
                "remove the spaces before `=`",
            ),
            ("CONFIG_=y", 0..9, "`CONFIG_` is not the name of a symbol", ""),
            ("CONFIG_A-B=y", 0..12, "`CONFIG_A-B` is not the name of a symbol", ""),
            ("CONFIG_A= y", 9..11, "` y` is not a value", "remove the spaces after `=`"),
            ("CONFIG_A=", 9..9, "`` is not a value", value),
            ("CONFIG_A=abc", 9..12, "`abc` is not a value", value),
            ("CONFIG_A=\"abc", 9..13, "`\"abc` is not a value", value),
            (
                "CONFIG_A=y # why",
                9..16,
                "`y # why` is not a value",
                "a comment needs a line of its own",
            ),
            ("CONFIG_A=Y", 9..10, "`Y` is not a value", "write `CONFIG_A=y`"),
            ("CONFIG_A=no", 9..11, "`no` is not a value", "# CONFIG_A is not set"),
            (
                "#CONFIG_A is not set",
                0..20,
                "a comment that only looks like a setting",
                "write `# CONFIG_A is not set`",
            ),
            (
                "# CONFIG_A  is not  set",
                0..23,
                "a comment that only looks like a setting",
                "write `# CONFIG_A is not set`",
            ),
            (
                "CONFIG_A=y\0",
                10..11,
                "a NUL byte: this is not plain text",
                "save the file as plain text in UTF-8",
            ),
            ("\u{a0}CONFIG_A=y", 0..12, "`\u{a0}CONFIG_A` is not the name of a symbol", ""),
        ];
        for (text, span, message, hint) in table {
            let errors = Config::parse("c", &format!("CONFIG_B=y\n{text}\n")).unwrap_err();
            let [error] = &errors[..] else { panic!("{text}: {errors:?}") };
            assert_eq!(error.to_string(), format!("c:2:{}: {message}", span.start + 1), "{text}");
            assert_eq!(error.span, *span, "{text}");
            assert_eq!(error.hint.as_deref().unwrap_or_default(), *hint, "{text}");
            assert_eq!(error.text, *text);
        }
    }

    #[test]
    fn the_last_line_of_a_symbol_counts() {
        let text = "\u{feff}CONFIG_A=y\r\n# CONFIG_A is not set\r\nCONFIG_B=1\nCONFIG_A=m\n\nCONFIG_B=\"x\"\n# CONFIG_B is not set\n";
        let config = Config::parse("c", text).unwrap();
        assert_eq!(config.settings["A"], Setting { value: Value::Module, line: 4 });
        assert_eq!(config.settings["B"], Setting { value: Value::No, line: 7 });
    }

    #[test]
    fn a_text_of_wide_characters_is_one_fault() {
        let wide: String = "CONFIG_A=y\nCONFIG_B=y\n".chars().flat_map(|one| [one, '\0']).collect();
        let errors = Config::parse("c", &wide).unwrap_err();
        assert_eq!(errors.iter().map(|error| &error.problem).collect::<Vec<_>>(), [&Problem::Nul]);
    }

    #[test]
    fn all_faults_at_once() {
        let errors = Config::parse("c", "A=y\nCONFIG_B=y\nCONFIG_C=?\n").unwrap_err();
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 3]);
    }

    proptest! {
        #[test]
        fn parse_of_rendered_text(config in crate::check::tests::arbitrary_config()) {
            let again = Config::parse(&config.name, &config.to_allconfig_text()).unwrap();
            let values = |config: &Config| -> Vec<_> {
                config.settings.iter().map(|(s, v)| (s.clone(), v.value.clone())).collect()
            };
            prop_assert_eq!(values(&again), values(&config));
            // Numbers keep their form, too.
            prop_assert_eq!(again.to_allconfig_text(), config.to_allconfig_text());
        }

        #[test]
        fn never_panics_and_spans_fit(
            text in "((# ?)?(CONFIG_)?[A-C]{0,2}( is not set|[= #\"\\\\é0xyn\\t-]{0,6})\n?){0,6}"
        ) {
            if let Err(errors) = Config::parse("c", &text) {
                for error in errors {
                    prop_assert!(error.text.get(error.span.clone()).is_some());
                }
            }
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::parse("c", &String::from_utf8_lossy(&bytes));
        }
    }
}
