//! The command's own process, from its start to the exec of its program.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use rustix::process::{chdir, ioctl_tiocsctty, setsid};

use crate::failure::{Failure, Stage};
use crate::request::{JOBSERVER, Settings};
use crate::syscall::{self, CStrings};
use crate::{Isolation, Spec, degraded, privileges};

/// Where a program is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the failure is reported, after the three streams; in a clone of the launcher this number is free.
const REPORT_NUMBER: i32 = 3;

/// Most scripts that interpret one another; the kernel's own limit.
const MOST_SCRIPTS: usize = 5;

/// Most bytes of a program's start that the kernel reads.
const HEAD_BYTES: usize = 256;

/// A command with all its strings in the form that the kernel takes.
pub(crate) struct Command<'a> {
    spec: &'a Spec,
    streams: [Option<OwnedFd>; 3],
    jobserver: Option<[OwnedFd; 2]>,
    /// Where the program may be, in order.
    programs: Vec<PathBuf>,
    arguments: CStrings,
    environment: CStrings,
}

impl<'a> Command<'a> {
    pub(crate) fn new(
        spec: &'a Spec,
        streams: [Option<OwnedFd>; 3],
        jobserver: Option<[OwnedFd; 2]>,
    ) -> Result<Command<'a>, Failure> {
        let name = spec.command.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Failure::at(Stage::Request, "")(Errno::INVAL))?;
        let environment = spec.environment.iter().map(|(name, value)| {
            let mut line = OsString::with_capacity(name.len() + value.len() + 1);
            line.push(name);
            line.push("=");
            line.push(value);
            line
        });
        Ok(Command {
            spec,
            streams,
            jobserver,
            programs: candidates(name, &spec.environment),
            arguments: c_strings(spec.command.iter().cloned())?,
            environment: c_strings(environment)?,
        })
    }

    /// Turns this process into the command, or writes the failure to `report` and ends.
    pub(crate) fn run(&self, settings: &Settings, report: &OwnedFd) -> ! {
        let failure = match self.prepare(settings, report) {
            Err(failure) => failure,
            Ok(()) => self.exec(),
        };
        // Nothing at all would say that the command was started.
        let text = serde_json::to_vec(&failure).unwrap_or_else(|_| b"?".to_vec());
        // At its first place if `prepare` has not come so far.
        let moved = syscall::adopt(REPORT_NUMBER);
        let _ = rustix::io::write(&moved, &text).or_else(|_| rustix::io::write(report, &text));
        syscall::exit_now(127)
    }

    fn prepare(&self, settings: &Settings, report: &OwnedFd) -> Result<(), Failure> {
        let fail = |errno: Errno| Failure::at(Stage::Stdio, "")(errno);
        setsid().map_err(fail)?;
        for (number, stream) in (0..).zip(&self.streams) {
            match stream {
                Some(stream) => syscall::duplicate_at(stream, number).map_err(fail)?,
                None => {
                    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                        .map_err(Failure::at(Stage::Stdio, "/dev/null"))?;
                    syscall::duplicate_at(&null, number).map_err(fail)?;
                }
            }
        }
        if let (Some(_), Some(terminal)) = (self.spec.terminal, &self.streams[0]) {
            ioctl_tiocsctty(terminal).map_err(fail)?;
        }
        // Closed now and not by the exec alone, as a limit on open files counts from here on.
        syscall::move_to(report, REPORT_NUMBER).map_err(fail)?;
        let mut first = REPORT_NUMBER.unsigned_abs() + 1;
        if let Some(ends) = &self.jobserver {
            let [reading, writing] = JOBSERVER;
            // Out of the way first, as the one may have the number that the other is to get.
            let [from, to] =
                ends.each_ref().map(|end| rustix::io::fcntl_dupfd_cloexec(end, writing + 1));
            syscall::duplicate_at(from.map_err(fail)?, reading).map_err(fail)?;
            syscall::duplicate_at(to.map_err(fail)?, writing).map_err(fail)?;
            syscall::close_range(first, reading.unsigned_abs() - 1).map_err(fail)?;
            first = writing.unsigned_abs() + 1;
        }
        syscall::close_from(first).map_err(fail)?;
        if self.spec.isolation == Isolation::Degraded {
            degraded::enter(self.spec, settings)?;
        }
        chdir(&self.spec.folder).map_err(Failure::at(Stage::Folder, &self.spec.folder))?;
        privileges::limit(&self.spec.limits, settings.open_files)?;
        syscall::reset_signals();
        Ok(())
    }

    /// Tries each place in turn, as a shell does: a file that may not be executed is remembered, but a later one may do.
    fn exec(&self) -> Failure {
        let mut refused = None;
        for program in &self.programs {
            let failure = match check_program(program, MOST_SCRIPTS) {
                Err(failure) => failure,
                Ok(()) => match CString::new(program.as_os_str().as_bytes()) {
                    Ok(path) => self.diagnose(
                        program,
                        syscall::exec(&path, &self.arguments, &self.environment),
                    ),
                    Err(_) => Failure::at(Stage::Request, program)(Errno::INVAL),
                },
            };
            if failure.stage != Stage::Exec {
                return failure;
            }
            match Errno::from_raw_os_error(failure.errno) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => refused = refused.or(Some(failure)),
                _ => return failure,
            }
        }
        refused.unwrap_or_else(|| {
            Failure::at(Stage::Exec, self.spec.command[0].as_os_str())(Errno::NOENT)
        })
    }

    /// Says why the kernel would not execute a program that is there: "not found" is then about its dynamic loader.
    fn diagnose(&self, program: &Path, errno: Errno) -> Failure {
        if errno == Errno::NOENT
            && let Some(loader) = loader(program)
        {
            return Failure::at(Stage::Interpreter, loader)(errno);
        }
        Failure::at(Stage::Exec, program)(errno)
    }
}

fn c_strings(strings: impl Iterator<Item = OsString>) -> Result<CStrings, Failure> {
    let mut all = Vec::new();
    for string in strings {
        let string = CString::new(string.into_vec());
        all.push(string.map_err(|error| {
            let text = OsString::from_vec(error.into_vec());
            Failure::at(Stage::Request, Path::new(&text))(Errno::INVAL)
        })?);
    }
    Ok(CStrings::new(all))
}

/// Where a program of this name may be. Empty entries of `PATH`, which mean the working folder, are left out.
fn candidates(name: &OsStr, environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    let path =
        environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    path.as_bytes()
        .split(|&byte| byte == b':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(OsStr::from_bytes(folder)).join(name))
        .collect()
}

/// Checks a program and the interpreters that it names before the kernel sees them.
///
/// A path that leads through a link of `/proc` such as `/proc/self/exe` would make the kernel execute osier's own program file, and a
/// process that runs it could then open and, as the host's root, overwrite it. So such links are refused here, where nothing else
/// runs in the sandbox yet that could change what was checked.
fn check_program(program: &Path, scripts: usize) -> Result<(), Failure> {
    let stage = if scripts == MOST_SCRIPTS { Stage::Exec } else { Stage::Interpreter };
    let Some(head) = read_head(program).map_err(Failure::at(stage, program))? else {
        return Ok(());
    };
    match script_interpreter(&head) {
        Some(interpreter) if scripts > 0 => check_program(&interpreter, scripts - 1),
        _ => Ok(()),
    }
}

/// Reads the start of a program; `None` for what is no regular file or cannot be read, which is then the kernel's to judge.
fn read_head(program: &Path) -> Result<Option<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat2(CWD, program, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(file) => file,
        Err(Errno::ACCESS) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut head = vec![0; HEAD_BYTES];
    let length = rustix::io::read(&file, &mut head)?;
    head.truncate(length);
    Ok(Some(head))
}

/// The interpreter that a script's first line names; see execve(2).
fn script_interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n' || byte == 0).next()?;
    let mut words =
        line.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty());
    words.next().map(|word| PathBuf::from(OsStr::from_bytes(word)))
}

/// The dynamic loader that a little-endian ELF program names; see elf(5).
fn loader(program: &Path) -> Option<PathBuf> {
    const SEGMENT_INTERP: u64 = 3;
    const MOST_BYTES: usize = 1 << 20;
    let file = std::fs::File::open(program).ok()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MOST_BYTES as u64), &mut bytes)
        .ok()?;
    let number = |at: usize, width: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(width)?)?;
        let value = field.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).ok()
    };
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    // Offsets of: segment table, size and number of its entries; in an entry: file offset and size; width of those.
    let (table, entry, count, offset, size, width) = match bytes.get(4)? {
        1 => (28, 42, 44, 4, 16, 4),
        2 => (32, 54, 56, 8, 32, 8),
        _ => return None,
    };
    let (table, entry, count) = (number(table, width)?, number(entry, 2)?, number(count, 2)?);
    for index in 0..count {
        let segment = table.checked_add(index.checked_mul(entry)?)?;
        if number(segment, 4)? as u64 == SEGMENT_INTERP {
            let start = number(segment + offset, width)?;
            let name = bytes.get(start..start.checked_add(number(segment + size, width)?)?)?;
            let name = name.split(|&byte| byte == 0).next()?;
            return Some(PathBuf::from(OsStr::from_bytes(name)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_in_the_given_path() {
        let path = |value: &str| vec![(OsString::from("PATH"), OsString::from(value))];
        let cases = [
            ("sh", path("/a:/b"), vec!["/a/sh", "/b/sh"]),
            ("sh", path(":/b:"), vec!["/b/sh"]),
            ("./sh", path("/a"), vec!["./sh"]),
            ("/x/sh", path("/a"), vec!["/x/sh"]),
            ("sh", path(""), vec![]),
        ];
        for (name, environment, expected) in cases {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(candidates(OsStr::new(name), &environment), expected, "{name}");
        }
        assert_eq!(candidates(OsStr::new("sh"), &[]).last().unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn interpreters_are_read_as_the_kernel_does() {
        let cases: [(&[u8], Option<&str>); 7] = [
            (b"#!/bin/sh\n", Some("/bin/sh")),
            (b"#! \t/bin/sh -e\n", Some("/bin/sh")),
            (b"#!/bin/sh", Some("/bin/sh")),
            (b"#!/bin/sh\r\n", Some("/bin/sh\r")),
            (b"#!\n", None),
            (b"\x7fELF", None),
            (b"", None),
        ];
        for (head, expected) in cases {
            assert_eq!(script_interpreter(head), expected.map(PathBuf::from), "{head:?}");
        }
    }

    #[test]
    fn the_loader_of_this_very_test_is_found() {
        let own = std::env::current_exe().unwrap();
        let loader = loader(&own).unwrap();
        assert!(loader.is_absolute() && loader.exists(), "{loader:?}");
        assert_eq!(super::loader(Path::new("/dev/null")), None);
    }
}
