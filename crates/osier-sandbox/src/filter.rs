//! The system call filter of a sandbox.
//!
//! A list of what is refused, not of what is allowed: builds run any program there is, and the namespaces and the missing capabilities
//! are the wall. The filter takes away what has opened holes in that wall before: making namespaces and mounts, looking into other
//! processes, keys, kernel facilities that trust whoever can call them.
//!
//! It is compiled here, to a search tree over the call numbers. Each time a filter is installed the kernel runs it for every number there
//! is, to learn which calls it need not run it for; with a straight list of comparisons that alone costs a sixth of a sandbox.
//! See seccomp(2) and the kernel's `Documentation/networking/filter.rst` for the instructions.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long};

use libc::sock_filter;
use rustix::io::Errno;

use crate::{Isolation, Network};

/// Refused whatever the arguments are.
const REFUSED: &[c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    // Namespaces; clone with flags is below.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Keys: the key rings belong to the user, not to the namespace alone.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Facilities with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    // The host as a whole.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Calls that change owners, each with the number of the argument that is the user; the group is the next one.
///
/// Owners come from a system's manifest, so what a step would make of them is of no account. Archives and installation scripts set them
/// all the same; see `docs/design/0014-owners-in-steps.md`.
const OWNERS: &[(c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, 1),
    (libc::SYS_fchown, 1),
    (libc::SYS_fchownat, 2),
];

/// The ids that a change of owner is made with: the only one that there is, and "as it was".
const OWN_IDS: [u32; 2] = [0, u32::MAX];

/// Flags of clone that make namespaces. `CLONE_NEWTIME` is for `clone3` and `unshare` alone.
const NAMESPACE_FLAGS: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Requests that put bytes into a terminal's input, or act on the console: `TIOCSTI` and `TIOCLINUX`.
const TERMINAL_REQUESTS: &[u32] = &[0x5412, 0x541c];

/// Personalities that a build may ask for: Linux, 32 bit, old version numbers, without random addresses, and the question which it is.
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0xffff_ffff];

const UNIX: u32 = libc::AF_UNIX.unsigned_abs();
const INET: u32 = libc::AF_INET.unsigned_abs();
const INET6: u32 = libc::AF_INET6.unsigned_abs();
const NETLINK: u32 = libc::AF_NETLINK.unsigned_abs();

/// The socket families that a sandbox may use.
fn families(isolation: Isolation, network: Network) -> &'static [u32] {
    match (isolation, network) {
        (Isolation::Full, Network::None) => &[UNIX, INET, INET6, NETLINK],
        // The network namespace also divides the abstract names of local sockets. In the host's, a daemon that listens there would take
        // a sandbox of the host's root for the host's root.
        (_, Network::Host) => &[INET, INET6, NETLINK],
        (Isolation::Degraded, Network::None) => &[UNIX],
    }
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// This bit in a call's number asks for the x32 interface of x86-64; its numbers are not the ones that the rules name.
const X32_BIT: u32 = 0x4000_0000;

/// What happens to a call.
enum Rule {
    /// It fails with `EPERM`.
    Refuse,
    /// It fails with `ENOSYS`, so that the C library uses another one.
    Absent,
    /// It fails with `EPERM` if any of the tests holds.
    RefuseIf(Vec<Test>),
    /// It is not made and yet succeeds, if this argument or the next one is an id that the sandbox does not have.
    PretendForOthers(u8),
}

/// A test of a call's arguments, each by its lower 32 bits: the kernel takes no more of any argument that is tested here.
enum Test {
    /// The argument has one of these bits.
    AnyBit { argument: u8, mask: u32 },
    /// The argument is one of these.
    OneOf { argument: u8, values: &'static [u32] },
    /// The argument is none of these.
    NoneOf { argument: u8, values: &'static [u32] },
    /// It is netlink, and not the routing part of it, which lists interfaces.
    OtherNetlink,
}

/// Makes the filter. A call by another architecture's interface kills the process.
pub(crate) fn program(isolation: Isolation, network: Network) -> Result<Vec<sock_filter>, Errno> {
    let rules: Vec<(u32, Rule)> = rules(families(isolation, network)).into_iter().collect();
    let mut program =
        vec![load(ARCHITECTURE_OFFSET), jump(EQUAL, ARCHITECTURE, 1, 0), KILL, load(NUMBER_OFFSET)];
    program.extend([jump(AT_LEAST, X32_BIT, 0, 1), ABSENT]);
    tree(&rules, &mut program)?;
    Ok(program)
}

fn rules(families: &'static [u32]) -> BTreeMap<u32, Rule> {
    let sockets = vec![Test::NoneOf { argument: 0, values: families }, Test::OtherNetlink];
    let some = [
        // Its flags lie in memory, where no filter can look.
        (libc::SYS_clone3, Rule::Absent),
        (
            libc::SYS_clone,
            Rule::RefuseIf(vec![Test::AnyBit {
                argument: 0,
                mask: NAMESPACE_FLAGS.unsigned_abs(),
            }]),
        ),
        (
            libc::SYS_ioctl,
            Rule::RefuseIf(vec![Test::OneOf { argument: 1, values: TERMINAL_REQUESTS }]),
        ),
        (
            libc::SYS_personality,
            Rule::RefuseIf(vec![Test::NoneOf { argument: 0, values: PERSONALITIES }]),
        ),
        (libc::SYS_socket, Rule::RefuseIf(sockets)),
        (libc::SYS_socketpair, Rule::RefuseIf(vec![Test::NoneOf { argument: 0, values: &[UNIX] }])),
    ];
    let refused = REFUSED.iter().map(|&call| (call, Rule::Refuse));
    let owners = OWNERS.iter().map(|&(call, user)| (call, Rule::PretendForOthers(user)));
    refused
        .chain(some)
        .chain(owners)
        .filter_map(|(call, rule)| Some((u32::try_from(call).ok()?, rule)))
        .collect()
}

// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

// Opcodes of the classic BPF: jumps compare the loaded word with a constant.
const LOAD: u16 = 0x20;
const ALWAYS: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: sock_filter = answer(libc::SECCOMP_RET_ALLOW);
const KILL: sock_filter = answer(libc::SECCOMP_RET_KILL_PROCESS);
const REFUSE: sock_filter = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs());
const PRETEND: sock_filter = answer(libc::SECCOMP_RET_ERRNO);
const ABSENT: sock_filter = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());

const fn answer(value: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: value }
}

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

const fn jump(code: u16, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { code, jt: if_so, jf: if_not, k: value }
}

/// Appends code that finds the rule for the loaded number, or allows the call.
fn tree(rules: &[(u32, Rule)], program: &mut Vec<sock_filter>) -> Result<(), Errno> {
    if let [(number, rule)] = rules {
        program.extend([jump(EQUAL, *number, 1, 0), ALLOW]);
        return leaf(rule, program);
    }
    let (low, high) = rules.split_at(rules.len() / 2);
    let Some((first_high, _)) = high.first() else { return Ok(()) };
    // A conditional jump reaches 255 instructions, the unconditional one any number.
    program.push(jump(AT_LEAST, *first_high, 0, 1));
    let to_high = program.len();
    program.push(jump(ALWAYS, 0, 0, 0));
    tree(low, program)?;
    program[to_high].k = u32::try_from(program.len() - to_high - 1).map_err(|_| Errno::OVERFLOW)?;
    tree(high, program)
}

/// Appends code that applies a rule.
fn leaf(rule: &Rule, program: &mut Vec<sock_filter>) -> Result<(), Errno> {
    let tests = match rule {
        Rule::Refuse => {
            program.push(REFUSE);
            return Ok(());
        }
        Rule::Absent => {
            program.push(ABSENT);
            return Ok(());
        }
        Rule::PretendForOthers(user) => {
            for argument in [*user, user + 1] {
                program.push(load_argument(argument));
                program.extend([jump(EQUAL, OWN_IDS[0], 2, 0), jump(EQUAL, OWN_IDS[1], 1, 0)]);
                program.push(PRETEND);
            }
            program.push(ALLOW);
            return Ok(());
        }
        Rule::RefuseIf(tests) => tests,
    };
    // Each test's code ends just behind its own `REFUSE`, so going on is falling through.
    for test in tests {
        match test {
            Test::AnyBit { argument, mask } => {
                program.extend([load_argument(*argument), jump(ANY_BIT, *mask, 0, 1), REFUSE]);
            }
            Test::OneOf { argument, values } => {
                program.push(load_argument(*argument));
                for value in *values {
                    program.extend([jump(EQUAL, *value, 0, 1), REFUSE]);
                }
            }
            Test::NoneOf { argument, values } => {
                program.push(load_argument(*argument));
                for (index, value) in values.iter().enumerate() {
                    let past_refuse =
                        u8::try_from(values.len() - index).map_err(|_| Errno::OVERFLOW)?;
                    program.push(jump(EQUAL, *value, past_refuse, 0));
                }
                program.push(REFUSE);
            }
            Test::OtherNetlink => program.extend([
                load_argument(0),
                jump(EQUAL, NETLINK, 0, 3),
                load_argument(2),
                jump(EQUAL, libc::NETLINK_ROUTE.unsigned_abs(), 1, 0),
                REFUSE,
            ]),
        }
    }
    program.push(ALLOW);
    Ok(())
}

/// Loads the lower half of an argument; both architectures are little-endian.
fn load_argument(argument: u8) -> sock_filter {
    load(ARGUMENTS_OFFSET + 8 * u32::from(argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSED_ANSWER: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ABSENT_ANSWER: u32 = libc::SECCOMP_RET_ERRNO | 38;
    const PRETENDED: u32 = libc::SECCOMP_RET_ERRNO;

    /// Runs a program as the kernel does; also returns the number of instructions.
    fn run(
        program: &[sock_filter],
        architecture: u32,
        number: u32,
        arguments: [u64; 4],
    ) -> (u32, usize) {
        let word = |offset: u32| match offset {
            0 => number,
            4 => architecture,
            16.. => {
                let argument = arguments[(offset as usize - 16) / 8];
                let half =
                    if offset.is_multiple_of(8) { argument & 0xffff_ffff } else { argument >> 32 };
                u32::try_from(half).unwrap()
            }
            _ => panic!("offset {offset}"),
        };
        let (mut at, mut loaded, mut steps) = (0, 0, 0);
        loop {
            let instruction = &program[at];
            at += 1;
            steps += 1;
            let holds = match instruction.code {
                LOAD => {
                    loaded = word(instruction.k);
                    continue;
                }
                RETURN => return (instruction.k, steps),
                ALWAYS => {
                    at += instruction.k as usize;
                    continue;
                }
                EQUAL => loaded == instruction.k,
                AT_LEAST => loaded >= instruction.k,
                ANY_BIT => loaded & instruction.k != 0,
                code => panic!("opcode {code}"),
            };
            at += usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }

    const KINDS: [(Isolation, Network); 3] = [
        (Isolation::Full, Network::None),
        (Isolation::Full, Network::Host),
        (Isolation::Degraded, Network::None),
    ];

    fn answer_to(kind: usize, number: c_long, arguments: [u64; 4]) -> u32 {
        let (isolation, network) = KINDS[kind];
        run(
            &program(isolation, network).unwrap(),
            ARCHITECTURE,
            u32::try_from(number).unwrap(),
            arguments,
        )
        .0
    }

    #[test]
    fn every_number_gets_its_own_rule_and_no_other() {
        for (isolation, network) in KINDS {
            let program = program(isolation, network).unwrap();
            let rules = rules(families(isolation, network));
            assert!(program.len() < 4096);
            for number in 0..1000 {
                // Arguments for which every conditional rule refuses, then ones for which none does.
                let (bad, steps) =
                    run(&program, ARCHITECTURE, number, [0x1000_0005, 0x5412, 1000, 1000]);
                let argument = match c_long::from(number) {
                    libc::SYS_personality => 0,
                    libc::SYS_socket => u64::from(families(isolation, network)[0]),
                    _ => 1,
                };
                let (good, _) = run(&program, ARCHITECTURE, number, [argument, 0, 0, 0]);
                let (bad_expected, good_expected) = match rules.get(&number) {
                    None => (ALLOWED, ALLOWED),
                    Some(Rule::Refuse) => (REFUSED_ANSWER, REFUSED_ANSWER),
                    Some(Rule::Absent) => (ABSENT_ANSWER, ABSENT_ANSWER),
                    Some(Rule::RefuseIf(_)) => (REFUSED_ANSWER, ALLOWED),
                    Some(Rule::PretendForOthers(_)) => (PRETENDED, ALLOWED),
                };
                assert_eq!((bad, good), (bad_expected, good_expected), "call {number}");
                assert!(steps < 40, "call {number} takes {steps} instructions");
            }
        }
    }

    #[test]
    fn arguments_decide() {
        let full = |call, arguments| answer_to(0, call, arguments);
        for flag in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWCGROUP,
        ] {
            assert_eq!(
                full(libc::SYS_clone, [(flag | libc::SIGCHLD) as u64, 0, 0, 0]),
                REFUSED_ANSWER
            );
            assert_eq!(full(libc::SYS_clone, [flag as u64 | 1 << 40, 0, 0, 0]), REFUSED_ANSWER);
        }
        let thread = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD;
        assert_eq!(full(libc::SYS_clone, [thread as u64, 0, 0, 0]), ALLOWED);
        assert_eq!(full(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0]), ALLOWED);

        assert_eq!(full(libc::SYS_ioctl, [0, 0x5412, 0, 0]), REFUSED_ANSWER);
        assert_eq!(
            full(libc::SYS_ioctl, [0, 0x1_0000_5412, 0, 0]),
            REFUSED_ANSWER,
            "the kernel takes 32 bits"
        );
        assert_eq!(full(libc::SYS_ioctl, [0, 0x541c, 0, 0]), REFUSED_ANSWER);
        assert_eq!(full(libc::SYS_ioctl, [0, 0xae80, 0, 0]), ALLOWED, "KVM_RUN");

        for (persona, expected) in
            [(0, ALLOWED), (0xffff_ffff, ALLOWED), (0x4_0000, ALLOWED), (0x40_0000, REFUSED_ANSWER)]
        {
            assert_eq!(full(libc::SYS_personality, [persona, 0, 0, 0]), expected, "{persona:#x}");
        }

        let (yes, no) = (ALLOWED, REFUSED_ANSWER);
        for (family, protocol, expected) in [
            (libc::AF_UNIX, 0, [yes, no, yes]),
            (libc::AF_INET, 0, [yes, yes, no]),
            (libc::AF_INET6, 6, [yes, yes, no]),
            (libc::AF_NETLINK, libc::NETLINK_ROUTE, [yes, yes, no]),
            (libc::AF_NETLINK, libc::NETLINK_AUDIT, [no, no, no]),
            (libc::AF_PACKET, 0, [no, no, no]),
            (libc::AF_VSOCK, 0, [no, no, no]),
            (libc::AF_ALG, 0, [no, no, no]),
        ] {
            for (kind, expected) in expected.into_iter().enumerate() {
                let found =
                    answer_to(kind, libc::SYS_socket, [family as u64, 1, protocol as u64, 0]);
                assert_eq!(found, expected, "{family} {:?}", KINDS[kind]);
            }
        }
    }

    #[test]
    fn only_changes_to_other_owners_are_pretended() {
        let (same, other) = (u64::from(u32::MAX), 1000);
        for (user, group, expected) in [
            (0, 0, ALLOWED),
            (same, same, ALLOWED),
            (u64::MAX, 0, ALLOWED),
            (0, other, PRETENDED),
            (other, 0, PRETENDED),
            (same, other, PRETENDED),
            (other, same, PRETENDED),
            (1 << 31, 1 << 31, PRETENDED),
        ] {
            for kind in 0..KINDS.len() {
                for (call, first) in OWNERS {
                    let mut arguments = [7; 4];
                    arguments[usize::from(*first)] = user;
                    arguments[usize::from(*first) + 1] = group;
                    assert_eq!(
                        answer_to(kind, *call, arguments),
                        expected,
                        "{call} {user} {group}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_interfaces_are_closed() {
        let program = program(Isolation::Full, Network::None).unwrap();
        let i386 = 0x4000_0003;
        assert_eq!(run(&program, i386, 20, [0; 4]).0, libc::SECCOMP_RET_KILL_PROCESS);
        for number in [X32_BIT, X32_BIT | 165, u32::MAX] {
            assert_eq!(run(&program, ARCHITECTURE, number, [0; 4]).0, ABSENT_ANSWER, "{number:#x}");
        }
    }
}
