//! The forms of strings that keys ask for.

use crate::schema::Form;
use crate::{Code, Target, Tune, nearest, parse_size};

/// The steps that osier does itself before all others: their names can be used in `from` and are taken.
pub const BUILT_IN_STEPS: [&str; 2] = ["unpack", "patch"];

/// Most bytes of a name. Files are called after names, with more behind them, and a file's name has 255 bytes at most.
const LONGEST_NAME: usize = 128;

/// Most bytes of one part of a path.
const LONGEST_PART: usize = 255;

/// Most bytes of a path, which the kernel takes up to 4,096 bytes with all that stands before it.
const LONGEST_PATH: usize = 2000;

/// Most bytes of a file's name, which has `.part` or the like behind it for a while.
const LONGEST_FILE_NAME: usize = 200;

const fn form(
    what: &'static str,
    looks: &'static str,
    pattern: &'static str,
    accepts: fn(&str) -> bool,
) -> Form {
    Form { what, looks, pattern, accepts, advice: |_| None, code: Code::WrongForm }
}

/// The name of a recipe, kind, system, machine, source, output, image or disk.
pub(crate) static NAME: Form = Form {
    advice: |text| {
        let lower: String =
            text.to_lowercase().chars().map(|c| if c == ' ' { '-' } else { c }).collect();
        (is_name(&lower)).then(|| format!("write `{lower}`"))
    },
    ..form(
        "a name",
        "at most 128 lower-case letters, digits and `+ . _ -`, beginning with a letter or digit",
        "^[a-z0-9][a-z0-9+._-]{0,127}$",
        is_name,
    )
};

/// The name of a step.
pub(crate) static STEP_NAME: Form = Form {
    advice: |text| {
        BUILT_IN_STEPS.contains(&text).then(|| {
            format!("`{text}` is the name of a step that osier does itself; choose another")
        })
    },
    ..form(
        "a name for a step",
        "at most 128 lower-case letters, digits and `+ . _ -`, beginning with a letter or digit; not `unpack`, not `patch`",
        "^[a-z0-9][a-z0-9+._-]{0,127}$",
        |text| is_name(text) && !BUILT_IN_STEPS.contains(&text),
    )
};

/// The name of a named output.
pub(crate) static OUTPUT: Form = Form {
    advice: |text| {
        (text == "main").then(|| {
            "leave it out: `main` always exists, and holds what no other output takes".into()
        })
    },
    ..form(
        "a name for an output",
        "at most 128 lower-case letters, digits and `+ . _ -`, beginning with a letter or digit; not `main`",
        "^[a-z0-9][a-z0-9+._-]{0,127}$",
        |text| is_name(text) && text != "main",
    )
};

/// A component or one of its outputs: `NAME` or `NAME:OUTPUT`.
pub(crate) static COMPONENT: Form = form(
    "a component",
    "`NAME` or `NAME:OUTPUT`, each of at most 128 bytes",
    "^[a-z0-9][a-z0-9+._-]{0,127}(:[a-z0-9][a-z0-9+._-]{0,127})?$",
    |text| match text.split_once(':') {
        Some((name, output)) => is_name(name) && is_name(output),
        None => is_name(text),
    },
);

/// A step of a component: `COMPONENT:STEP`.
pub(crate) static STEP: Form = form(
    "a step of a component",
    "`COMPONENT:STEP`",
    "^[a-z0-9][a-z0-9+._-]{0,127}:[a-z0-9][a-z0-9+._-]{0,127}$",
    |text| {
        text.split_once(':').is_some_and(|(component, step)| is_name(component) && is_name(step))
    },
);

/// A file that a component installs: `COMPONENT:PATH`.
pub(crate) static INSTALLED: Form = form(
    "a file of a component",
    "`COMPONENT:PATH`, the path below the installed tree",
    "^[a-z0-9][a-z0-9+._-]{0,127}:[^/].*$",
    |text| {
        text.split_once(':')
            .is_some_and(|(component, path)| is_name(component) && stays_below(path))
    },
);

/// The name of a Debian package, source or binary.
pub(crate) static DEBIAN_NAME: Form = form(
    "the name of a Debian package",
    "at most 128 lower-case letters, digits and `+ . -`, beginning with a letter or digit",
    "^[a-z0-9][a-z0-9+.-]{0,127}$",
    |text| is_name(text) && !text.contains('_'),
);

/// The name of a Debian suite.
pub(crate) static SUITE: Form = form(
    "a Debian suite",
    "its code name, such as `bookworm`",
    "^[a-z0-9][a-z0-9+._/-]*$",
    |text| text.split('/').all(is_name),
);

/// The name of a Debian architecture.
pub(crate) static ARCHITECTURE: Form = form(
    "a Debian architecture",
    "Debian's name, such as `amd64` or `all`",
    "^[a-z0-9][a-z0-9-]*$",
    is_name,
);

/// A version.
pub(crate) static VERSION: Form = form(
    "a version",
    "at most 128 letters, digits and `. + - ~ : _`, beginning with a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9.+~:_-]{0,127}$",
    |text| {
        text.len() <= LONGEST_NAME
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-~:_".contains(&b))
    },
);

/// One locked package: `NAME=VERSION`.
pub(crate) static PINNED: Form = form(
    "a pinned package",
    "`NAME=VERSION`",
    "^[a-z0-9][a-z0-9+.-]{0,127}=[A-Za-z0-9][A-Za-z0-9.+~:_-]{0,127}$",
    |text| {
        text.split_once('=')
            .is_some_and(|(name, version)| is_name(name) && (VERSION.accepts)(version))
    },
);

/// The name of an environment variable.
pub(crate) static ENVIRONMENT: Form = form(
    "the name of an environment variable",
    "letters, digits and `_`, not beginning with a digit",
    "^[A-Za-z_][A-Za-z0-9_]*$",
    is_variable,
);

/// The name of a kind's variable.
pub(crate) static VARIABLE: Form = form(
    "the name of a variable",
    "lower-case letters, digits and `_`, beginning with a letter",
    "^[a-z][a-z0-9_]*$",
    |text| {
        is_variable(text) && !text.starts_with('_') && !text.bytes().any(|b| b.is_ascii_uppercase())
    },
);

/// A SHA-256 in hexadecimal.
pub(crate) static SHA256: Form =
    form("a SHA-256", "64 of the digits `0-9a-f`", "^[0-9a-f]{64}$", |text| is_hex(text, 64));

/// A git commit.
pub(crate) static COMMIT: Form = Form {
    advice: |_| Some("write the commit's full hash; branches and tags can move".into()),
    ..form("a git commit", "40 of the digits `0-9a-f`", "^[0-9a-f]{40}$", |text| is_hex(text, 40))
};

/// The address of a file.
pub(crate) static URL: Form = Form {
    advice: |text| (!text.contains("://")).then(|| format!("write `https://{text}`")),
    ..form(
        "the address of a file",
        "`https://` or `http://`, a host and the path of a file, without spaces",
        "^https?://[^/\\s]+/\\S*[^/\\s]$",
        |text| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let parts = rest.filter(|rest| is_address(rest)).and_then(|rest| rest.split_once('/'));
            parts.is_some_and(|(host, path)| {
                !host.is_empty() && !path.is_empty() && !path.ends_with('/')
            })
        },
    )
};

/// The address of a git repository.
pub(crate) static GIT: Form = Form {
    advice: git_advice,
    code: Code::GitAddress,
    ..form(
        "the address of a git repository",
        "a scheme (`https`, `http`, `git`, `ssh` or `file`), `://` and the repository",
        "^(https?|git|ssh|file)://\\S+$",
        |text| git_advice(text).is_none() && text.contains("://") && is_address(text),
    )
};

fn git_advice(text: &str) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Some(match text.split_once(':') {
            Some((host, path)) if host.contains('@') => {
                format!("write `ssh://{host}/{}`", path.trim_start_matches('/'))
            }
            _ => format!("write `https://{text}`"),
        });
    };
    if !["https", "http", "git", "ssh", "file"].contains(&scheme) {
        return Some("git fetches over `https`, `http`, `git`, `ssh` or `file`".into());
    }
    if rest.trim_start_matches('/').is_empty() {
        return Some("add the repository's path after the host".into());
    }
    if rest.contains(['?', '#']) {
        return Some("remove everything from `?` or `#` on".into());
    }
    for page in ["/-/", "/tree/", "/blob/", "/commit/", "/commits/", "/releases/", "/archive/"] {
        if let Some(end) = rest.find(page) {
            return Some(format!(
                "that is a page about the repository; write `{scheme}://{}`",
                &rest[..end]
            ));
        }
    }
    if rest.ends_with(".tar.gz") || rest.ends_with(".tar.xz") || rest.ends_with(".zip") {
        return Some("that is a file; write `url = …` and its `sha256`".into());
    }
    None
}

/// A path that stays in its folder.
pub(crate) static PATH: Form = Form {
    code: Code::LeavesFolder,
    ..form(
        "a path inside the folder",
        "a relative path without `..`, empty parts or control characters, each part at most 255 bytes long",
        "^[^/].*$",
        stays_below,
    )
};

/// The path of a file in an image.
pub(crate) static IMAGE_PATH: Form = Form {
    advice: |text| {
        let below = text.trim_matches('/');
        (below != text && stays_below(below)).then(|| format!("write `{below}`"))
    },
    ..form(
        "a path in an image",
        "a path from the root of the image, without `/` at its begin, `..`, empty parts or control characters, each part at \
         most 255 bytes long",
        "^[^/].*$",
        stays_below,
    )
};

/// The path of a file in a FAT file system: what mtools can write in any place of the world.
pub(crate) static FAT_PATH: Form = form(
    "a path that a FAT file system can hold",
    "parts of letters from a to z, digits, blanks and `! # $ % & ' ( ) + , - . ; = @ ^ _ { }` that neither begin with a blank nor \
     end with a blank or a dot, and are not names of devices such as `con` and `aux`",
    "^[^/].*$",
    |text| stays_below(text) && text.split('/').all(is_fat_name),
);

fn is_fat_name(part: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || " !#$%&'()+,-.;=@^_{}".contains(c);
    let stem = part.split('.').next().unwrap_or(part).trim_end().to_ascii_uppercase();
    let numbered = ["COM", "LPT"].into_iter().find_map(|device| stem.strip_prefix(device));
    let is_device = matches!(stem.as_str(), "CON" | "AUX" | "NUL" | "PRN" | "CLOCK$")
        || numbered.is_some_and(|number| matches!(number.as_bytes(), [b'0'..=b'9']));
    part.chars().all(fits) && !part.starts_with(' ') && !part.ends_with([' ', '.']) && !is_device
}

/// The label of a FAT file system.
pub(crate) static FAT_LABEL: Form = Form {
    advice: |text| {
        let upper = text.to_uppercase();
        is_fat_label(&upper).then(|| format!("write `{upper}`"))
    },
    ..form(
        "a label of a FAT file system",
        "1 to 11 capital letters, digits and `_ - ! # $ % & ( ) @`, and blanks between them",
        "^[A-Z0-9_!#$%&()@-]([A-Z0-9_!#$%&()@ -]{0,9}[A-Z0-9_!#$%&()@-])?$",
        is_fat_label,
    )
};

fn is_fat_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-!#$%&()@ ".contains(&b);
    (1..=11).contains(&text.len()) && text.bytes().all(fits) && text.trim() == text
}

/// The name of a file.
pub(crate) static FILE_NAME: Form = form(
    "a file's name",
    "one name without `/` and control characters, at most 200 bytes long",
    "^[^/]+$",
    |text| stays_below(text) && !text.contains('/') && text.len() <= LONGEST_FILE_NAME,
);

/// A pattern for paths that stay in their folder.
pub(crate) static GLOB: Form = Form {
    code: Code::LeavesFolder,
    ..form(
        "a pattern inside the folder",
        "a relative path without `..`; it may use `*`, `?` and, as a whole part, `**`",
        "^[^/].*$",
        stays_below,
    )
};

/// Words for a kernel.
pub(crate) static KERNEL_WORDS: Form = form(
    "words for a kernel's command line",
    "one line of at most 1,900 bytes: a kernel reads no more than 2,047, and osier adds words of its own",
    "^[^\\x00-\\x1f\\x7f]*$",
    |text| text.len() <= 1900 && !text.chars().any(char::is_control),
);

/// A size in bytes.
pub(crate) static SIZE: Form = Form {
    advice: |text| {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let suffix = text[digits.len()..].trim().chars().next()?.to_ascii_uppercase();
        let size = format!("{digits}{suffix}");
        parse_size(&size).map(|_| format!("write `{size}`"))
    },
    ..form(
        "a size",
        "a whole number followed by `K`, `M`, `G` or `T`",
        "^[1-9][0-9]*[KMGT]$",
        |text| parse_size(text).is_some(),
    )
};

/// A target.
pub(crate) static TARGET: Form = Form {
    code: Code::UnknownTarget,
    advice: |text| {
        let known = ["x86_64", "aarch64", "amd64", "arm64"];
        nearest(text, known).map(|found| format!("did you mean `{found}`?"))
    },
    ..form(
        "a target",
        "`x86_64` or `aarch64` (`amd64` and `arm64` mean the same)",
        "^(x86_64|aarch64|amd64|arm64)$",
        |text| Target::parse(text).is_some(),
    )
};

/// What programs are compiled for.
pub(crate) static TUNE: Form = Form {
    advice: |text| nearest(text, Tune::names()).map(|found| format!("did you mean `{found}`?")),
    ..form(
        "a processor level",
        "`native`; `x86-64`, `x86-64-v2`, `x86-64-v3` or `x86-64-v4`; or `armv8-a`, `armv8.1-a` and so on to `armv8.6-a`",
        "^(native|x86-64(-v[234])?|armv8(\\.[1-6])?-a)$",
        |text| Tune::parse(text).is_some(),
    )
};

/// A licence as SPDX writes it.
pub(crate) static LICENCE: Form = form(
    "an SPDX licence",
    "an identifier or expression, such as `GPL-2.0-only` or `MIT OR Apache-2.0`",
    "^[A-Za-z0-9.+:() -]+$",
    |text| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-:() ".contains(&b))
    },
);

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b))
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_address(text: &str) -> bool {
    text.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

fn stays_below(path: &str) -> bool {
    path.len() <= LONGEST_PATH
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| {
            !part.is_empty() && part != "." && part != ".." && part.len() <= LONGEST_PART
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_accept_and_refuse() {
        let (long, deep) = ("a".repeat(300), "a/".repeat(1000) + "a");
        for (form, good, bad) in [
            (
                &NAME,
                vec!["a", "gtk+3.0", "0ad", "x_y-z", &long[..128]],
                vec!["", "A", "-a", "a b", "a/b", "é", ".a", "a\n", &long[..129]],
            ),
            (&STEP_NAME, vec!["build"], vec!["unpack", "patch", "Build"]),
            (&OUTPUT, vec!["dev"], vec!["main", ""]),
            (&COMPONENT, vec!["musl", "musl:dev"], vec!["musl:", ":dev", "a:b:c", ""]),
            (&STEP, vec!["linux:patch"], vec!["linux", "linux:", ":x"]),
            (
                &INSTALLED,
                vec!["linux:boot/vmlinuz"],
                vec!["linux:/boot", "linux", "linux:../x", "linux:"],
            ),
            (&DEBIAN_NAME, vec!["libc6-dev", "g++-12"], vec!["a_b", "libc6:arm64", ""]),
            (&SUITE, vec!["bookworm", "bookworm-updates"], vec!["", "a//b", "Book"]),
            (&VERSION, vec!["1:2.3~rc1+dfsg-4", "2024_01"], vec!["", "-1", "1 2", "1/2"]),
            (&PINNED, vec!["libc6=2.36-9+deb12u13"], vec!["libc6", "=1", "libc6="]),
            (&ENVIRONMENT, vec!["CFLAGS", "_x"], vec!["", "1A", "A-B", "A=B"]),
            (&VARIABLE, vec!["defconfig", "a_1"], vec!["A", "_a", "1a", ""]),
            (
                &COMMIT,
                vec!["0123456789abcdef0123456789abcdef01234567"],
                vec!["main", "v1.0", "0123456"],
            ),
            (
                &URL,
                vec!["https://example.org/a.tar.gz", "http://h/a?b=c"],
                vec![
                    "example.org/a",
                    "https://example.org",
                    "https://example.org/a/",
                    "https:///a",
                    "https://h/a b",
                    "ftp://h/a",
                ],
            ),
            (
                &GIT,
                vec!["https://example.org/a/b.git", "ssh://git@example.org/a", "file:///srv/a"],
                vec![
                    "example.org/a",
                    "git@example.org:a/b",
                    "https://example.org/a/b/tree/main",
                    "https://",
                    "https://h/a.tar.gz",
                    "ftp://h/a",
                    "https://h/a b",
                ],
            ),
            (
                &PATH,
                vec!["a", "conf/a.b", "...", "a b", &long[..255]],
                vec![
                    "",
                    "/a",
                    "../a",
                    "a/../b",
                    "a//b",
                    "a/",
                    "./a",
                    "a\nb",
                    "a\u{1b}",
                    &long[..256],
                    &deep,
                ],
            ),
            (
                &TUNE,
                vec!["native", "x86-64", "x86-64-v4", "armv8-a", "armv8.6-a"],
                vec!["", "x86_64", "x86-64-v5", "x86-64-v1", "armv8.0-a", "haswell", "Native"],
            ),
            (&KERNEL_WORDS, vec!["", "quiet a=\"b c\" -- x"], vec!["a\nb", &deep]),
            (&FILE_NAME, vec!["a.dsc", &long[..200]], vec!["", "a/b", "..", "a\n", &long[..201]]),
            (&LICENCE, vec!["GPL-2.0-only", "MIT OR (Apache-2.0)"], vec!["", "GPL_2", "GPL/MIT"]),
        ] {
            for text in good {
                assert!((form.accepts)(text), "{} {text:?}", form.what);
            }
            for text in bad {
                assert!(!(form.accepts)(text), "{} {text:?}", form.what);
                let _ = (form.advice)(text);
            }
        }
    }

    #[test]
    fn advice_is_itself_valid() {
        for (form, wrong, advice) in [
            (&NAME, "My Tool", "write `my-tool`"),
            (&GIT, "git@example.org:a/b", "write `ssh://git@example.org/a/b`"),
            (&GIT, "example.org/a", "write `https://example.org/a`"),
            (&SIZE, "256mb", "write `256M`"),
            (&SIZE, "1 GiB", "write `1G`"),
            (&URL, "example.org/a.tgz", "write `https://example.org/a.tgz`"),
            (&TARGET, "x86-64", "did you mean `x86_64`?"),
            (&TUNE, "x86_64_v3", "did you mean `x86-64-v3`?"),
        ] {
            let given = (form.advice)(wrong).unwrap();
            assert_eq!(given, advice);
            let written = given.split('`').nth(1).unwrap();
            assert!((form.accepts)(written), "{written}");
        }
    }
}
