//! How QEMU says that the machine ended: a fact, where the kernel's line about it is text that any program can print.
//!
//! QEMU exits with 0 either way. It traces to its standard error when the guest switches the machine off
//! (`qemu_system_shutdown_request` of `system/runstate.c`), and under `-no-reboot` says nothing of a reset.

use crate::script::GuestEnding;

/// Traced at QEMU's start and end, so that silence about the other one means something.
const STATE: &str = "runstate_set ";
const SWITCHED_OFF: &str = "qemu_system_shutdown_request ";

/// How the machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineEnd {
    /// The guest switched it off.
    Off,
    /// The processor was reset.
    Reset,
}

impl MachineEnd {
    /// Whether what the kernel seems to have announced did not happen.
    pub(crate) fn contradicts(self, ending: GuestEnding) -> bool {
        match ending {
            GuestEnding::PowerOff => self == Self::Reset,
            GuestEnding::Reboot => self == Self::Off,
            _ => false,
        }
    }
}

/// The arguments that make QEMU trace that.
pub(crate) fn arguments() -> impl Iterator<Item = String> {
    [STATE, SWITCHED_OFF].into_iter().flat_map(|event| ["-trace".into(), event.trim_end().into()])
}

/// Takes the traces out of what QEMU said; of a QEMU that has ended by itself they tell how the machine ended. Nothing is
/// known where QEMU does not trace.
pub(crate) fn split(messages: &str) -> (String, Option<MachineEnd>) {
    let has = |line: &str, event: &str| {
        // With `-msg timestamp` there are a process and a time before it.
        line.split_once(event).is_some_and(|(before, _)| before.is_empty() || before.ends_with(':'))
    };
    let mut end = None;
    let mut rest = String::new();
    for line in messages.lines() {
        if has(line, SWITCHED_OFF) {
            end = Some(MachineEnd::Off);
        } else if has(line, STATE) {
            end = end.or(Some(MachineEnd::Reset));
        } else {
            rest.push_str(line);
            rest.push('\n');
        }
    }
    (rest, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_tell_how_the_machine_ended_and_are_no_messages() {
        let state = "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)\n";
        let off = "12@1732822800.123456:qemu_system_shutdown_request reason=6\n";
        let words = "qemu-system-x86_64: warning: of runstate_set \n";
        for (messages, end) in [
            (words.to_owned(), None),
            (format!("{state}{words}"), Some(MachineEnd::Reset)),
            (format!("{state}{words}{off}{state}"), Some(MachineEnd::Off)),
        ] {
            assert_eq!(split(&messages), (words.to_owned(), end), "{messages}");
        }
    }
}
