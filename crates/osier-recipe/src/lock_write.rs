//! Writing the lock: sorted, one line for each thing that can change by itself.

use std::fmt::{self, Write};

use crate::{Lock, LockedEnvironment, LockedFile, LockedPackage, LockedSource, Pin, Place};

/// The first line.
pub(crate) const HEAD: &str = "# made by osier; `osier update` changes it, nobody edits it by hand";

impl Lock {
    /// The lock as text; equal locks give equal text, which [`Lock::parse`] reads back.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{HEAD}")?;
        writeln!(out, "version = {}", Self::VERSION)?;
        for source in self.sources() {
            write_source(out, source)?;
        }
        for environment in self.environments() {
            write_environment(out, environment)?;
        }
        for package in self.packages() {
            write_package(out, package)?;
        }
        Ok(())
    }
}

fn write_package(out: &mut String, package: &LockedPackage) -> fmt::Result {
    let LockedPackage { name, version, architecture, suite, path, size, sha256 } = package;
    writeln!(out, "\n[[package]]\nname = {}\nversion = {}", Quoted(name), Quoted(version))?;
    writeln!(out, "architecture = {}\nsuite = {}", Quoted(architecture), Quoted(suite))?;
    writeln!(out, "path = {}\nsize = {size}\nsha256 = {}", Quoted(path), Quoted(sha256))
}

fn write_environment(out: &mut String, environment: &LockedEnvironment) -> fmt::Result {
    let LockedEnvironment { suite, architecture, request, packages } = environment;
    writeln!(
        out,
        "\n[[environment]]\nsuite = {}\narchitecture = {}",
        Quoted(suite),
        Quoted(architecture)
    )?;
    writeln!(out, "request = [")?;
    for name in request {
        writeln!(out, "  {},", Quoted(name))?;
    }
    writeln!(out, "]\npackages = [")?;
    for (name, version) in packages {
        writeln!(out, "  {},", Quoted(&format!("{name}={version}")))?;
    }
    writeln!(out, "]")
}

fn write_source(out: &mut String, source: &LockedSource) -> fmt::Result {
    let LockedSource { recipe, name, pin, files } = source;
    writeln!(out, "\n[[source]]\nrecipe = {}\nname = {}", Quoted(recipe), Quoted(name))?;
    match pin {
        Pin::Debian { package, version, suite } => {
            writeln!(out, "debian = {}\nversion = {}", Quoted(package), Quoted(version))?;
            writeln!(out, "suite = {}", Quoted(suite))?;
        }
        Pin::Url { url } => writeln!(out, "url = {}", Quoted(url))?,
        Pin::Git { address, commit } => {
            writeln!(out, "git = {}\ncommit = {}", Quoted(address), Quoted(commit))?;
        }
    }
    writeln!(out, "files = [")?;
    for file in files {
        write_file(out, file)?;
    }
    writeln!(out, "]")
}

fn write_file(out: &mut String, file: &LockedFile) -> fmt::Result {
    write!(out, "  {{ name = {}, ", Quoted(&file.name))?;
    match &file.place {
        Place::Pool(path) => write!(out, "path = {}, ", Quoted(path))?,
        Place::Urls(urls) => {
            let urls: Vec<String> = urls.iter().map(|url| Quoted(url).to_string()).collect();
            write!(out, "urls = [{}], ", urls.join(", "))?;
        }
        Place::Made => {}
    }
    writeln!(out, "size = {}, sha256 = {} }},", file.size, Quoted(&file.sha256))
}

/// A TOML basic string.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                control if control.is_control() => write!(out, "\\u{:04X}", u32::from(control))?,
                plain => out.write_char(plain)?,
            }
        }
        out.write_char('"')
    }
}
