//! `osier boot`: a system on a machine, with a verdict.

pub(crate) mod disks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use osier_boot::interactive::{InteractiveError, boot_interactive};
use osier_boot::{
    Accelerator, Action, Architecture, BootError, BootEvent, BootPlan, BootScript, Challenge,
    Diagnosis, GuestEnding, Machine, Pattern, Script,
};
use osier_image::{Attributes, FsTree, ImagePath, Node, append_archive};
use osier_recipe::{BootRun, End, MachineFile, System, Target};
use osier_store::Store;

use super::out_folder;
use crate::delivery::Delivery;
use crate::engine::unbuilt;
use crate::project::tune::Demand;
use crate::project::{BUILD, Goal, Project};
use crate::report::event::Event;
use crate::report::figures::duration;
use crate::report::problem::{Code, Outcome, Problem};
use crate::session::{Session, launcher};
use crate::source::tools::Tool;
use crate::system::{self, Built};
use crate::tool::emulator::SandboxedQemu;
use crate::workplace::{Workplace, boot_id};
use disks::ReadyDisk;

/// The packages of the tool that boots x86_64 machines.
const QEMU_X86: Tool<'static> = Tool { suite: None, packages: &["qemu-system-x86", "seabios"] };

/// The packages of the tool that boots aarch64 machines.
const QEMU_ARM: Tool<'static> = Tool { suite: None, packages: &["qemu-system-arm"] };

/// The tool that boots machines of an architecture.
pub(crate) fn qemu(architecture: Target) -> &'static Tool<'static> {
    match architecture {
        Target::X86_64 => &QEMU_X86,
        Target::Aarch64 => &QEMU_ARM,
    }
}

/// The machine of a system that names none.
const DEFAULT_MACHINE: &str = "q35";

/// Reads the machine file that a system names.
pub(crate) fn machine_file(
    project: &Project<'_>,
    system: &System,
    target: Target,
) -> Outcome<MachineFile> {
    let effective = system.effective(target);
    project.machine(effective.machine.map_or(DEFAULT_MACHINE, |machine| machine.as_str()))
}

/// Reads a system by name; a component is no system.
fn system(project: &Project<'_>, name: Option<&str>) -> Outcome<Box<System>> {
    match project.goal(name)? {
        Goal::System(system, _) => Ok(system),
        Goal::Component(name) => Err(Problem::of(
            Code::NotBootable,
            format!("`{name}` is a component; only a system can be booted"),
        )),
    }
}

pub(crate) fn run(
    workplace: &Workplace,
    name: Option<&str>,
    interactive: bool,
    out: Option<&Path>,
) -> Outcome<()> {
    if workplace.global.degraded {
        let message = "degraded mode cannot boot systems";
        return Err(Problem::of(Code::Usage, message).hint(
            "`osier build --degraded` writes its images; boot them on a machine that allows namespaces",
        ));
    }
    let launcher = launcher()?;
    let store = workplace.store()?;
    let mut session = Session::open(workplace, &store, Some(&launcher))?;
    let system = system(&session.project, name)?;
    let targets = session.project.targets.clone();
    if interactive {
        session.project.target()?;
    }
    // Whatever is wrong with a machine is said before anything is built.
    let (mut others, mut demands) = (Vec::new(), Vec::new());
    for target in &targets {
        let project = &session.project;
        let file = machine_file(project, &system, *target)?;
        fits(&file, *target)?;
        disks::left_out(project, &system, *target, &file)?;
        let on_disks = disks::systems(project, &file)?;
        machine(&file, &disks::attached(&file, Path::new("/")))?;
        let systems = on_disks.iter().chain([&*system]);
        let demand = Demand::of(project, systems, *target)?;
        if demand.check(project, &file)? {
            let emulator = emulator(&mut session, file.architecture)?;
            let found = accelerator(&session, &emulator)?;
            demand.accelerator(&session.project, &file, found)?;
        }
        demands.push(demand);
        others.extend(on_disks.into_iter().map(|other| (other, *target)));
    }
    let own = targets.iter().map(|target| (&*system, *target));
    let all: Vec<_> = own.chain(others.iter().map(|(other, target)| (other, *target))).collect();
    system::build_together(&mut session, &all)?;
    let booting = Booting { system: &system, interactive, out };
    for (target, demand) in targets.into_iter().zip(&demands) {
        booting.boot(&mut session, target, demand)?;
    }
    Ok(())
}

/// What one command boots, and how.
struct Booting<'b> {
    system: &'b System,
    interactive: bool,
    out: Option<&'b Path>,
}

impl Booting<'_> {
    /// Boots the system for one target.
    fn boot(&self, session: &mut Session<'_>, target: Target, demand: &Demand) -> Outcome<()> {
        let Self { system, interactive, out } = *self;
        let (workplace, store) = (session.workplace, session.store);
        let effective = system.effective(target);
        let file = machine_file(&session.project, system, target)?;
        let scratch = store.scratch("boot")?;
        let mut disks = disks::attached(&file, scratch.path());
        disks::fill(session, target, &file, &mut disks)?;
        let machine = machine(&file, &disks)?;
        let built = system::build(session, system, target)?;
        let folder = out_folder(&session.project, system, target, out);
        Delivery::open(&folder)?.expect_logs()?;
        let (kernel, _) = system::deliver(store, &built, &folder)?;
        let Some(kernel) = kernel else {
            return Err(Problem::of(
                Code::NotBootable,
                format!("the system `{}` names no kernel", system.name),
            ));
        };
        let emulator = emulator(session, file.architecture)?;
        let accelerator = match target {
            BUILD => accelerator(session, &emulator)?,
            _ => Accelerator::Tcg,
        };
        let accelerator = demand.accelerator(&session.project, &file, accelerator)?;
        let image = effective.boot_image.map(osier_recipe::Image::file_name);
        let renew_disks = || disks.iter().try_for_each(ReadyDisk::renew);
        let initrd = |challenge: &Challenge| {
            with_challenge(store, &built, image.as_deref(), challenge, scratch.path())
        };
        let plan = BootPlan {
            machine,
            accelerator,
            kernel: Some(kernel.clone()),
            append: effective.append.map(|append| append.value.clone()).unwrap_or_default(),
            initrd: image.is_some().then_some(&initrd as _),
            renew_disks: Some(&renew_disks),
            script: script(effective.runs),
            patience: 1.0,
            no_progress: Duration::from_secs(60),
            folder: folder.clone(),
        };
        if interactive {
            use std::os::fd::AsFd as _;
            boot_interactive(&plan, &emulator, std::io::stdin().as_fd(), std::io::stdout().as_fd())
                .map_err(not_shown)?;
            return Ok(());
        }
        let show = |event: BootEvent<'_>| match event {
            BootEvent::Started { boot, .. } => workplace.reporter.tell(&Event::BootStarted {
                system: system.name.value.clone(),
                machine: file.name.value.clone(),
                accelerator: accelerator.name().to_owned(),
                boot,
            }),
            BootEvent::Proved { seconds } => {
                workplace.reporter.tell(&Event::BootProved { seconds });
            }
            BootEvent::Retrying => workplace.reporter.tell(&Event::BootRetried {}),
            _ => {}
        };
        let report = osier_boot::boot(&plan, &emulator, &show).map_err(unbooted)?;
        workplace.reporter.json(&report);
        let log = report.boots.last().map(|boot| boot.serial_log.clone()).unwrap_or_default();
        let lines = [
            format!("kernel  {}", Workplace::shown(&kernel)),
            image
                .as_ref()
                .map(|image| format!("image   {}", Workplace::shown(&folder.join(image))))
                .unwrap_or_default(),
            format!("log     {}", Workplace::shown(&log)),
        ];
        if !report.passed {
            return Err(failed(system, &report.diagnosis, &lines));
        }
        for note in report.boots.iter().flat_map(|boot| &boot.diagnosis.notes) {
            workplace.reporter.tell(&Event::BootNoted { note: note.clone() });
        }
        let seconds: f64 = report.boots.iter().map(|boot| boot.seconds).sum();
        workplace.reporter.result(format!(
            "booted  {}{} in {} ({})",
            system.name,
            if target == BUILD { String::new() } else { format!(" for {target}") },
            duration(seconds),
            accelerator.name()
        ));
        for line in lines.iter().filter(|line| !line.is_empty()) {
            workplace.reporter.result(line);
        }
        Ok(())
    }
}

/// Says why a system did not boot, or did not do what its script says.
fn failed(system: &System, diagnosis: &Diagnosis, lines: &[String]) -> Problem {
    let mut problem = Problem::of(
        Code::given(diagnosis.code),
        match diagnosis.proved {
            true => format!("{} booted, and then {}", system.name, diagnosis.summary),
            false => format!("{} did not boot: {}", system.name, diagnosis.summary),
        },
    );
    for line in &diagnosis.evidence {
        problem.body.push_str(&format!("    | {line}\n"));
    }
    for note in &diagnosis.notes {
        problem.body.push_str(&format!("  note    {note}\n"));
    }
    if !diagnosis.cause.is_empty() {
        problem.body.push_str(&format!("  cause   {}\n", diagnosis.cause));
    }
    for line in lines.iter().filter(|line| !line.is_empty()) {
        problem.body.push_str(&format!("  {line}\n"));
    }
    if diagnosis.hint.is_empty() { problem } else { problem.hint(diagnosis.hint.clone()) }
}

/// Says why a boot could not be played.
fn unbooted(error: BootError) -> Problem {
    match error {
        BootError::Machine(_) | BootError::Script(_) => Problem::of(Code::BootRefused, error),
        BootError::Initrd(_)
        | BootError::Disks(_)
        | BootError::Log { .. }
        | BootError::Host { .. } => Problem::of(Code::File, error),
    }
}

/// Says why a person could not be given the console.
fn not_shown(error: InteractiveError) -> Problem {
    match error {
        InteractiveError::Plan(error) => unbooted(error),
        InteractiveError::Emulator(_) | InteractiveError::Qemu(_) => {
            Problem::of(Code::QemuFailed, error)
        }
        InteractiveError::Streams(_) => Problem::of(Code::File, error),
    }
}

/// Checks that a machine runs what is built for a target.
fn fits(file: &MachineFile, target: Target) -> Outcome<()> {
    if file.architecture == target {
        return Ok(());
    }
    let message = format!(
        "the machine `{}` has the architecture {}, but the system is built for {target}",
        file.name, file.architecture
    );
    let hint = format!("name a machine of that architecture in `[target.{target}.boot]`");
    Err(Problem::of(Code::BootRefused, message).hint(hint))
}

/// Unpacks the emulator, unless it is there.
fn emulator<'s>(session: &mut Session<'s>, architecture: Target) -> Outcome<SandboxedQemu<'s>> {
    let environment = crate::source::tools::tool(session, qemu(architecture))?;
    let events = |event| session.workplace.reporter.event(event);
    let root = session.engine(&events)?.root(&environment).map_err(unbuilt)?;
    Ok(SandboxedQemu { launcher: session.launcher()?, store: session.store, root })
}

/// Finds out once for each boot of this host whether KVM can be used.
fn accelerator(session: &Session<'_>, emulator: &SandboxedQemu<'_>) -> Outcome<Accelerator> {
    let (workplace, store) = (session.workplace, session.store);
    let boot = boot_id();
    let known = store.root().join("kvm");
    let noted = std::fs::read_to_string(&known).unwrap_or_default();
    if let Some(answer) = noted.strip_prefix(&boot) {
        return Ok(if answer.trim() == "kvm" { Accelerator::Kvm } else { Accelerator::Tcg });
    }
    let scratch = store.scratch("kvm")?;
    let probe = osier_boot::kvm::probe(Path::new("/dev/kvm"), scratch.path(), emulator);
    if probe.accelerator == Accelerator::Tcg {
        workplace.reporter.tell(&Event::KvmUnused { reason: probe.reason.clone() });
    }
    store.put_note(&known, format!("{boot} {}\n", probe.accelerator.name()).as_bytes())?;
    Ok(probe.accelerator)
}

/// Writes the initramfs of one boot: the image, and behind it an archive with the challenge.
fn with_challenge(
    store: &Store,
    built: &Built,
    image: Option<&str>,
    challenge: &Challenge,
    folder: &Path,
) -> std::io::Result<PathBuf> {
    let (_, digest, size) = built
        .images
        .iter()
        .find(|(name, _, _)| Some(name.as_str()) == image)
        .ok_or_else(|| std::io::Error::other("the system has no such image"))?;
    let place = folder.join("initrd");
    std::fs::copy(store.blob_path(digest), &place)?;
    std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let text = format!("{}\n", challenge.value()).into_bytes();
    let other = |error: &dyn std::fmt::Display| std::io::Error::other(error.to_string());
    let mut tree: FsTree<Vec<u8>> = FsTree::new();
    let (file_path, folder_path) = osier_boot::challenge::CHALLENGE_FILE
        .split_once('/')
        .map_or(("challenge", ".osier"), |(folder, file)| (file, folder));
    let parent = ImagePath::new(folder_path).map_err(|error| other(&error))?;
    let path = parent.join(file_path.as_bytes()).map_err(|error| other(&error))?;
    let owned = |mode| Attributes { mode, uid: 0, gid: 0 };
    tree.insert(parent, Node::Folder { attributes: owned(0o700) })
        .map_err(|error| other(&error))?;
    let file =
        Node::File { content: text.clone(), size: text.len() as u64, attributes: owned(0o400) };
    tree.insert(path, file).map_err(|error| other(&error))?;
    let out = std::fs::OpenOptions::new().append(true).open(&place)?;
    append_archive(out, *size, &tree, 0, |content| Ok(std::io::Cursor::new(content.clone())))
        .map_err(|error| other(&error))?;
    Ok(place)
}

/// Reads a machine file as the machine that is emulated.
fn machine(file: &MachineFile, disks: &[ReadyDisk]) -> Outcome<Machine> {
    use osier_boot::Board;
    let boards = [Board::Q35, Board::Pc, Board::Microvm, Board::Virt];
    let Some(board) = boards.into_iter().find(|board| board.name() == file.board.as_str()) else {
        let known: Vec<String> = boards.iter().map(|board| board.name().to_owned()).collect();
        return Err(crate::report::problem::unknown("board", &file.board, &known));
    };
    let machine = Machine {
        name: file.name.value.clone(),
        architecture: match file.architecture {
            Target::X86_64 => Architecture::X86_64,
            Target::Aarch64 => Architecture::Aarch64,
        },
        board,
        cpu: file.cpu.as_ref().map(|cpu| cpu.value.clone()),
        memory_mib: u32::try_from(file.memory >> 20).unwrap_or(u32::MAX),
        cpus: u32::from(file.cpus),
        console: Some(file.console.value.clone()),
        disks: disks.iter().map(|ready| ready.disk.clone()).collect(),
        extra: file.extra.iter().map(|extra| extra.value.clone()).collect(),
    };
    machine.check().map_err(|error| Problem::of(Code::BootRefused, error))?;
    Ok(machine)
}

/// Reads the boots of a system as a script; without any, one boot that must prove itself and is then ended.
fn script(runs: &[BootRun]) -> Script {
    let seconds =
        |within: &Option<u64>, default: u64| Duration::from_secs(within.unwrap_or(default));
    let boots = runs.iter().map(|run| BootScript {
        without: run.without.iter().map(|disk| disk.value.clone()).collect(),
        actions: run
            .script
            .iter()
            .map(|action| match &action.value {
                osier_recipe::Action::Expect { text, within } => {
                    Action::Expect { pattern: Pattern::text(text), within: seconds(within, 30) }
                }
                osier_recipe::Action::Send { text } => Action::Send { text: text.clone() },
                osier_recipe::Action::Booted { within } => {
                    Action::Booted { within: seconds(within, 60) }
                }
                osier_recipe::Action::End { how, within } => Action::End {
                    how: match how {
                        End::Poweroff => GuestEnding::PowerOff,
                        End::Reboot => GuestEnding::Reboot,
                    },
                    within: seconds(within, 30),
                },
            })
            .collect(),
    });
    let boots: Vec<BootScript> = boots.collect();
    if !boots.is_empty() {
        return Script { boots };
    }
    let booted = Action::Booted { within: Duration::from_secs(60) };
    let end = Action::End { how: GuestEnding::Kill, within: Duration::from_secs(30) };
    Script { boots: vec![BootScript { without: Vec::new(), actions: vec![booted, end] }] }
}
