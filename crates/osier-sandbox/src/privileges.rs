//! What a sandbox's processes may not do, whatever their user is.

use std::io;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

use crate::failure::{Failure, Stage};
use crate::{Isolation, Limits, syscall};

/// What a build run as root needs: to own, open and change all files of its one user. None of it reaches beyond the user namespace.
const BUILD: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

/// What is kept of it where the capabilities are the host's: enough to own and change root's files, not to give them away or become another.
const DEGRADED: CapabilitySet =
    CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER).union(CapabilitySet::FSETID);

/// Stack of the main thread that programs are built for; a larger inherited one changes memory layouts.
const STACK_BYTES: u64 = 8 * 1024 * 1024;

/// Gives up every right but the build's, for this process and all that it starts, and hides this process's memory and descriptors.
pub(crate) fn give_up(isolation: Isolation, filter: &[libc::sock_filter]) -> Result<(), Failure> {
    let fail = Failure::at(Stage::Privileges, "");
    let keep = match isolation {
        Isolation::Full => BUILD,
        Isolation::Degraded => {
            DEGRADED & capabilities(None).map_err(Failure::at(Stage::Privileges, ""))?.permitted
        }
    };
    let drop_rights = || {
        syscall::limit_bounding_set(keep.bits())?;
        clear_ambient_capability_set()?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: keep,
                permitted: keep,
                inheritable: CapabilitySet::empty(),
            },
        )?;
        set_no_new_privs(true)?;
        // The first process shares the user id with the step but must not be its to trace or to look into.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
    };
    drop_rights().map_err(fail)?;
    syscall::install_filter(filter).map_err(Failure::at(Stage::Filter, ""))
}

/// Sets the resource limits of this process and all that it starts. `open_files` is what the launcher had before it raised its own.
pub(crate) fn limit(limits: &Limits, open_files: Rlimit) -> Result<(), Failure> {
    let both = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    let mut all = vec![
        (Resource::Core, both(0)),
        (Resource::Nofile, limits.open_files.map_or(open_files, both)),
    ];
    let stack = getrlimit(Resource::Stack);
    if stack.maximum.is_none_or(|most| most >= STACK_BYTES) {
        all.push((Resource::Stack, Rlimit { current: Some(STACK_BYTES), maximum: stack.maximum }));
    }
    let wanted = [
        (Resource::Nproc, limits.processes),
        (Resource::As, limits.address_space),
        (Resource::Fsize, limits.file_size),
    ];
    all.extend(wanted.into_iter().filter_map(|(resource, most)| Some((resource, both(most?)))));
    for (resource, wanted) in all {
        // What the host grants no more than is kept: a lower hard limit stands.
        let granted = getrlimit(resource).maximum;
        let lower = |value: Option<u64>| match (value, granted) {
            (Some(value), Some(granted)) => Some(value.min(granted)),
            (value, granted) => value.or(granted),
        };
        let new = Rlimit { current: lower(wanted.current), maximum: lower(wanted.maximum) };
        setrlimit(resource, new).map_err(Failure::at(Stage::Limit, ""))?;
    }
    Ok(())
}

/// Writes a whole small file of `/proc`.
pub(crate) fn write_proc(path: &str, text: &str) -> Result<(), Errno> {
    std::fs::write(path, text).map_err(|error| errno_of(&error))
}

/// The error number of an I/O error; `EIO` where it has none.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
