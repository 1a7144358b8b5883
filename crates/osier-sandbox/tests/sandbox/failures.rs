//! What cannot be started is told by stage, path and error number.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use osier_sandbox::{Mount, Root, SpawnError, Spec, Stage};
use rustix::io::Errno;

use crate::host::Host;

fn expect(host: &Host, spec: &Spec, stage: Stage, path: impl AsRef<Path>, errno: Errno) {
    match host.try_run(spec) {
        Err(SpawnError::Stage { stage: found, path: at, errno: number }) => {
            assert_eq!(
                (found, at.as_path(), Errno::from_raw_os_error(number)),
                (stage, path.as_ref(), errno),
                "{:?}",
                spec.command
            );
        }
        other => panic!("{other:?}"),
    }
    // Whatever failed, the launcher goes on.
    assert_eq!(host.step(&["exit", "0"]), "");
}

#[test]
fn a_program_that_cannot_run_is_named() {
    let host = Host::new();
    let make = |name: &str, text: &str, mode: u32| host.install(name, text.as_bytes(), mode);
    make("plain", "x", 0o644);
    make("script", "#!/no/interpreter -e\n", 0o755);
    make("crlf", "#!/bin/step\r\nx", 0o755);
    make("text", "echo hello\n", 0o755);
    make("empty", "", 0o755);
    for (program, stage, path, errno) in [
        ("no-such", Stage::Exec, "no-such", Errno::NOENT),
        ("/no/such", Stage::Exec, "/no/such", Errno::NOENT),
        ("./no-such", Stage::Exec, "./no-such", Errno::NOENT),
        ("/plain", Stage::Exec, "/plain", Errno::ACCESS),
        ("/bin", Stage::Exec, "/bin", Errno::ACCESS),
        ("/bin/step/x", Stage::Exec, "/bin/step/x", Errno::NOTDIR),
        ("/script", Stage::Interpreter, "/no/interpreter", Errno::NOENT),
        ("/crlf", Stage::Interpreter, "/bin/step\r", Errno::NOENT),
        ("/text", Stage::Exec, "/text", Errno::NOEXEC),
        ("/empty", Stage::Exec, "/empty", Errno::NOEXEC),
    ] {
        let path = if errno == Errno::NOTDIR || errno == Errno::NOENT && stage == Stage::Exec {
            program
        } else {
            path
        };
        let errno = if errno == Errno::NOTDIR { Errno::NOENT } else { errno };
        expect(&host, &host.spec(&[program]), stage, path, errno);
    }
    // A program that is linked to a loader which the root has not.
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    host.install("dynamic", &own, 0o755);
    match host.try_run(&host.spec(&["/dynamic"])) {
        Err(SpawnError::Stage { stage: Stage::Interpreter, path, .. }) => {
            assert!(path.to_str().unwrap().contains("ld-linux"), "{path:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn too_long_an_environment_is_refused_by_the_exec() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "exit", "0"]);
    spec.environment.push(("BIG".into(), OsString::from("x".repeat(200_000))));
    expect(&host, &spec, Stage::Exec, "/bin/step", Errno::TOOBIG);
    for number in 0..40 {
        spec.environment.push((format!("B{number}").into(), OsString::from("x".repeat(100_000))));
    }
    spec.environment.retain(|(name, _)| name != "BIG");
    expect(&host, &spec, Stage::Exec, "/bin/step", Errno::TOOBIG);
    // A large one that fits goes through.
    spec.environment.truncate(12);
    host.run(&spec).expect_success();
}

#[test]
fn a_spec_that_makes_no_sense_is_refused() {
    let host = Host::new();
    let good = host.spec(&["step", "exit", "0"]);
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = good.clone();
        change(&mut spec);
        spec
    };
    let zero = OsString::from("a\0b");
    for (spec, path) in [
        (with(&|spec| spec.command.clear()), ""),
        (with(&|spec| spec.command[0].clear()), ""),
        (with(&|spec| spec.command.push(zero.clone())), "a\0b"),
        (with(&|spec| spec.environment.push(("N".into(), zero.clone()))), "N=a\0b"),
        (with(&|spec| spec.root = Root::ReadOnly { lowers: vec![] }), ""),
        (with(&|spec| spec.root = Root::ReadOnly { lowers: vec!["relative".into()] }), "relative"),
        (with(&|spec| spec.root = Root::Folder { path: "relative".into() }), "relative"),
        (with(&|spec| spec.devices.push("kvm".into())), "kvm"),
        (
            with(&|spec| {
                spec.mounts.push(Mount::Bind {
                    source: "a".into(),
                    target: "/b".into(),
                    writable: false,
                });
            }),
            "a",
        ),
        (with(&|spec| spec.mounts.push(Mount::Tmpfs { target: "b".into(), size: 1 })), "b"),
        (with(&|spec| spec.mounts.push(Mount::Layers { lowers: vec![], target: "/b".into() })), ""),
    ] {
        expect(&host, &spec, Stage::Request, path, Errno::INVAL);
    }
}

#[test]
fn what_is_missing_is_named() {
    let host = Host::new();
    let missing = host.path("missing");
    let file = host.write("file", "x");
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = host.spec(&["step", "exit", "0"]);
        change(&mut spec);
        spec
    };
    let layers = |lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf| {
        with(&|spec| {
            spec.root =
                Root::Overlay { lowers: lowers.clone(), upper: upper.clone(), work: work.clone() };
        })
    };
    let (layer, upper, work) = (host.path("layer"), host.path("upper"), host.path("work"));
    for (spec, stage, path, errno) in [
        (
            layers(vec![layer.clone(), missing.clone()], upper.clone(), work.clone()),
            Stage::Layer,
            &missing,
            Errno::NOENT,
        ),
        (
            layers(vec![file.clone()], upper.clone(), work.clone()),
            Stage::Layer,
            &file,
            Errno::NOTDIR,
        ),
        (
            layers(vec![layer.clone()], missing.clone(), work.clone()),
            Stage::Layer,
            &missing,
            Errno::NOENT,
        ),
        (
            layers(vec![layer.clone()], upper.clone(), missing.clone()),
            Stage::Layer,
            &missing,
            Errno::NOENT,
        ),
        // Upper and work may not contain one another.
        (
            layers(vec![layer.clone()], upper.clone(), upper.clone()),
            Stage::Root,
            &upper,
            Errno::INVAL,
        ),
        (
            with(&|spec| spec.folder = "/missing".into()),
            Stage::Folder,
            &"/missing".into(),
            Errno::NOENT,
        ),
        (
            with(&|spec| spec.folder = "/bin/step".into()),
            Stage::Folder,
            &"/bin/step".into(),
            Errno::NOTDIR,
        ),
        (
            with(&|spec| spec.devices.push("/dev/no-such".into())),
            Stage::Device,
            &"/dev/no-such".into(),
            Errno::NOENT,
        ),
        (
            with(&|spec| spec.devices.push("/dev/shm".into())),
            Stage::Device,
            &"/dev/shm".into(),
            Errno::NODEV,
        ),
        (
            with(&|spec| spec.devices.push("/etc/passwd".into())),
            Stage::Device,
            &"/etc/passwd".into(),
            Errno::NODEV,
        ),
        (
            with(&|spec| {
                spec.mounts.push(Mount::Bind {
                    source: missing.clone(),
                    target: "/b".into(),
                    writable: true,
                });
            }),
            Stage::Mount,
            &missing,
            Errno::NOENT,
        ),
        (
            with(&|spec| {
                spec.mounts.push(Mount::Layers {
                    lowers: vec![missing.clone(), layer.clone()],
                    target: "/b".into(),
                });
            }),
            Stage::Layer,
            &missing,
            Errno::NOENT,
        ),
        (
            with(&|spec| spec.mounts.push(Mount::Tmpfs { target: "/bin/step".into(), size: 1 })),
            Stage::MountPoint,
            &"/bin/step".into(),
            Errno::NOTDIR,
        ),
        (
            with(&|spec| spec.host_name = "x".repeat(65)),
            Stage::HostName,
            &"x".repeat(65).into(),
            Errno::INVAL,
        ),
    ] {
        expect(&host, &spec, stage, path, errno);
    }
    assert_eq!(fs::read_dir(host.path("upper")).unwrap().count(), 0, "no trace of any of it");
}

#[test]
fn errors_say_what_and_where() {
    let host = Host::new();
    let error = host.try_run(&host.spec(&["/no/such"])).unwrap_err();
    assert!(error.to_string().starts_with("cannot execute /no/such: "), "{error}");
}
