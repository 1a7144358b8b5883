//! Values of symbols.

use std::fmt;

/// What a symbol is set to. A symbol that is not mentioned counts as [`Value::No`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `n`, written `# CONFIG_X is not set`.
    No,
    /// `m`, built as a module.
    Module,
    /// `y`, built in.
    Yes,
    /// A text, here without quotes and escapes.
    Text(String),
    /// A number.
    Number(Number),
}

/// A number as it is written, decimal or with `0x`. Equal numbers have equal values: `0x1F` is
/// `0x01f`, but neither is `31`, since a symbol has only one of the two forms.
#[derive(Clone, Debug)]
pub struct Number(String);

impl Number {
    /// Reads a decimal number with or without `-`, or `0x` and hexadecimal digits.
    pub fn parse(text: &str) -> Option<Number> {
        let sound = match strip_0x(text) {
            Some(digits) => {
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            None => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
        };
        sound.then(|| Number(text.to_owned()))
    }

    /// Returns what makes two numbers equal: the form, the sign, the digits that count.
    fn value(&self) -> (bool, bool, String) {
        let hexadecimal = strip_0x(&self.0);
        let digits = hexadecimal.unwrap_or(&self.0).trim_start_matches(['-', '0']);
        let negative = self.0.starts_with('-') && !digits.is_empty();
        (hexadecimal.is_some(), negative, digits.to_ascii_lowercase())
    }
}

fn strip_0x(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.value() == other.value()
    }
}

impl Eq for Number {}

impl Value {
    /// Reads what is on the right of `=`: `y`, `m`, `n`, a quoted text or a number.
    pub fn parse(text: &str) -> Option<Value> {
        match text {
            "n" => Some(Value::No),
            "m" => Some(Value::Module),
            "y" => Some(Value::Yes),
            _ => match text.strip_prefix('"') {
                Some(quoted) => unquote(quoted).map(Value::Text),
                None => Number::parse(text).map(Value::Number),
            },
        }
    }

    /// Tells whether a wish for `self` is honoured by `got`.
    ///
    /// Kconfig reads `16` for a hexadecimal symbol as 0x16 and writes it so; only then can a
    /// decimal wish meet a hexadecimal result.
    pub fn is_honoured_by(&self, got: &Value) -> bool {
        match (self, got) {
            (Value::Number(wanted), Value::Number(got)) => {
                let ((wanted_hex, minus, wanted), (got_hex, got_minus, got)) =
                    (wanted.value(), got.value());
                (wanted_hex == got_hex || got_hex) && minus == got_minus && wanted == got
            }
            _ => self == got,
        }
    }
}

/// Takes the closing quote off, which must be last, and the backslashes before characters.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.as_str().is_empty().then_some(text),
            '\\' => text.push(rest.next()?),
            character => text.push(character),
        }
    }
}

impl fmt::Display for Value {
    /// Writes the value as it stands on the right of `=`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::No => out.write_str("n"),
            Value::Module => out.write_str("m"),
            Value::Yes => out.write_str("y"),
            Value::Text(text) => {
                write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Value::Number(Number(text)) => out.write_str(text),
        }
    }
}

/// Writes the line that sets `symbol` to a value, without newline.
pub(crate) fn line(symbol: &str, value: &Value) -> String {
    match value {
        Value::No => format!("# CONFIG_{symbol} is not set"),
        value => format!("CONFIG_{symbol}={value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read() {
        let text = |text: &str| Value::Text(text.into());
        let number = |text: &str| Value::Number(Number(text.into()));
        let table = [
            ("y", Some(Value::Yes)),
            ("m", Some(Value::Module)),
            ("n", Some(Value::No)),
            ("\"\"", Some(text(""))),
            (r#""a \"b\" \\ c""#, Some(text(r#"a "b" \ c"#))),
            (r#""\n""#, Some(text("n"))),
            ("0x1F", Some(number("0x1f"))),
            ("0X1f", Some(number("0x01F"))),
            ("-17", Some(number("-17"))),
            ("010", Some(number("10"))),
            ("", None),
            ("Y", None),
            ("yes", None),
            ("\"", None),
            (r#""\""#, None),
            ("\"a\"b", None),
            ("0x", None),
            ("0x+1", None),
            ("+1", None),
            ("--1", None),
            ("-", None),
            ("1.5", None),
            ("-0x1", None),
        ];
        for (written, value) in table {
            assert_eq!(Value::parse(written), value, "{written}");
        }
    }

    #[test]
    fn what_honours() {
        let table = [
            ("0x1F", "0x1f", true),
            ("007", "7", true),
            ("16", "0x16", true),
            ("16", "0x10", false),
            ("-1", "0x1", false),
            ("0x16", "16", false),
            ("0x0", "0x00", true),
            ("-0", "0", true),
            ("-1", "1", false),
            ("y", "m", false),
            ("m", "y", false),
            ("\"a\"", "\"a\"", true),
            ("\"1\"", "1", false),
        ];
        for (wanted, got, honoured) in table {
            let value = |text| Value::parse(text).unwrap();
            assert_eq!(value(wanted).is_honoured_by(&value(got)), honoured, "{wanted} {got}");
        }
    }
}
