//! `osier doctor`: tries what this machine gives, and says what is missing and what to do.

use std::path::Path;

use osier_sandbox::{Feature, Outcome as Found, probe};

use crate::report::figures::bytes;
use crate::report::problem::{Code, Outcome, Problem};
use crate::workplace::Workplace;

fn label(feature: Feature) -> &'static str {
    match feature {
        Feature::UserNamespace => "user namespace",
        Feature::OtherNamespaces => "mount, pid, network and other namespaces",
        Feature::Overlay => "overlayfs in the store",
        Feature::Sandbox => "a whole sandbox",
        Feature::PidsLimit => "a limit on processes",
        Feature::MemoryLimit => "a limit on the memory of steps",
        Feature::Kvm => "/dev/kvm can be opened",
        Feature::Degraded => "degraded mode (chroot, devices)",
    }
}

/// Prints a line for each thing that was tried; fails when builds cannot run here.
pub(crate) fn run(workplace: &Workplace) -> Outcome<()> {
    let store = workplace.asked_store()?;
    let folder = workplace.store_folder()?;
    // Where there is no store yet, what counts is the file system that it would lie on.
    let near = folder.ancestors().find(|folder| folder.is_dir()).filter(|_| store.is_passing());
    let near =
        near.and_then(|near| tempfile::Builder::new().prefix(".osier-").tempdir_in(near).ok());
    let scratch = store.scratch("doctor")?;
    let report = probe(near.as_ref().map_or(scratch.path(), tempfile::TempDir::path));
    let show = &workplace.reporter;
    let who = if report.root { "root" } else { "an ordinary user" };
    show.result(format!("kernel  {}, as {who}", report.kernel));
    for (feature, found) in &report.outcomes {
        let (mark, rest) = match found {
            Found::Works => ("ok", String::new()),
            Found::Untried => ("-", " (not tried)".to_owned()),
            Found::Missing { errno, reason } => {
                let errno = if *errno == 0 {
                    String::new()
                } else {
                    format!(" ({})", std::io::Error::from_raw_os_error(*errno))
                };
                ("no", format!("{errno}: {}", reason.advice()))
            }
        };
        show.result(format!("{mark:<7} {}{rest}", label(*feature)));
    }
    let free = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(&folder);
    let free = osier_store::free_bytes(free).unwrap_or(u64::MAX);
    show.result(format!(
        "{:<7} {} of disk free at {}{}",
        if free > 8 << 30 { "ok" } else { "low" },
        bytes(free),
        folder.display(),
        if store.is_passing() { ", where there is no store yet" } else { "" }
    ));
    let configured = std::env::var("OSIER_DEBIAN_MIRROR").ok();
    match osier_debian::discover(Path::new("/etc/apt"), configured.as_deref()) {
        Ok(mirrors) => show.result(format!(
            "{:<7} a Debian mirror is known ({} in all)",
            "ok",
            mirrors.archive.len()
        )),
        Err(error) => show.result(format!("{:<7} {error}", "no")),
    }
    if !report.full() {
        return Err(Problem::of(Code::NoSandbox, "builds cannot run here with full isolation"));
    }
    Ok(())
}
