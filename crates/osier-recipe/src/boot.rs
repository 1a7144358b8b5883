//! How a system is booted and what must then happen.

use crate::walk::{self, Node, Walk};
use crate::{Code, Spanned, tables};

/// How a system is booted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// The machine.
    pub machine: Option<Spanned<String>>,
    /// What is added to the kernel's command line.
    pub append: Option<Spanned<String>>,
    /// The image; without one the system's first.
    pub image: Option<Spanned<String>>,
    /// The boots, one after another.
    pub runs: Vec<BootRun>,
}

/// One of several boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRun {
    /// The disks of the machine that are not attached.
    pub without: Vec<Spanned<String>>,
    /// What is awaited and sent, in order; nothing follows an [`Action::End`].
    pub script: Vec<Spanned<Action>>,
}

/// One action of a boot's script; limits are in seconds on a machine with KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A text must appear on the console.
    Expect {
        /// The text.
        text: String,
        /// The limit.
        within: Option<u64>,
    },
    /// A text is typed on the console.
    Send {
        /// The text.
        text: String,
    },
    /// Process 1 of the manifest must have proved itself.
    Booted {
        /// The limit.
        within: Option<u64>,
    },
    /// The guest must end.
    End {
        /// How it ends.
        how: End,
        /// The limit.
        within: Option<u64>,
    },
}

/// How a guest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It switches itself off.
    Poweroff,
    /// It starts itself again.
    Reboot,
}

/// Reads `[boot]`.
pub(crate) fn boot(walk: &mut Walk, node: &Node<'_>) -> Boot {
    let mut boot = Boot::default();
    if let Some(table) = node.get_ref().as_table() {
        walk.table(table, &node.span(), &tables::BOOT_TABLE, &mut boot, |boot, walk, key, node| {
            match key {
                "machine" => boot.machine = Some(walk::text(node)),
                "append" => boot.append = Some(walk::text(node)),
                "image" => boot.image = Some(walk::text(node)),
                "run" => boot.runs = runs(walk, node),
                _ => walk::unread("boot", key),
            }
        });
    }
    boot
}

fn runs(walk: &mut Walk, node: &Node<'_>) -> Vec<BootRun> {
    let mut runs = Vec::new();
    for (table, span) in walk::tables(node) {
        let mut run = BootRun { without: Vec::new(), script: Vec::new() };
        walk.table(table, &span, &tables::BOOT_RUN, &mut run, |run, walk, key, node| match key {
            "script" => run.script = script(walk, node),
            "without" => run.without = walk::texts(node),
            _ => walk::unread("boot.run", key),
        });
        runs.push(run);
    }
    runs
}

fn script(walk: &mut Walk, node: &Node<'_>) -> Vec<Spanned<Action>> {
    let mut script: Vec<Spanned<Action>> = Vec::new();
    for (table, span) in walk::tables(node) {
        let mut read = (None, None);
        walk.table(table, &span, &tables::ACTION, &mut read, |(action, within), _, key, node| {
            match key {
                "expect" => {
                    *action = Some(Action::Expect { text: walk::text(node).value, within: None });
                }
                "send" => *action = Some(Action::Send { text: walk::text(node).value }),
                "booted" => *action = Some(Action::Booted { within: None }),
                "end" => {
                    let how = if node.get_ref().as_str() == Some("reboot") {
                        End::Reboot
                    } else {
                        End::Poweroff
                    };
                    *action = Some(Action::End { how, within: None });
                }
                "within" => *within = Some(walk::unsigned(node)),
                _ => walk::unread("script", key),
            }
        });
        let (Some(mut action), limit) = read else { continue };
        match &mut action {
            Action::Expect { within, .. }
            | Action::Booted { within }
            | Action::End { within, .. } => *within = limit,
            Action::Send { .. } => {}
        }
        if matches!(script.last().map(|last| &last.value), Some(Action::End { .. })) {
            let error = walk.error(Code::Conflict, &span, "no action can follow `end`");
            error.hints.push("put it into another `[[boot.run]]`".into());
        }
        script.push(Spanned::new(action, span));
    }
    script
}
