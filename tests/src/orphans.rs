//! Kills the process groups of a test process that was itself killed and so ran no destructors.
//!
//! The kernel's parent death signal is not usable here: it fires when the spawning thread ends, and
//! a change of credentials, such as the agent's, clears it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads groups from a pipe until the test process closes it, then kills those that remain.
const SCRIPT: &str = r#"
groups=' '
while read -r verb group; do
    case $verb in
    add) groups="$groups$group " ;;
    remove) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
"#;

/// Kills the process group once this process has ended, unless it is removed before.
///
/// # Panics
/// If the watcher cannot be started.
pub fn add(group: u32) {
    send("add", group);
}

/// Removes a process group that has ended: its number may be reused.
///
/// # Panics
/// If the watcher cannot be started.
pub fn remove(group: u32) {
    send("remove", group);
}

fn send(verb: &str, group: u32) {
    static WATCHER: OnceLock<Mutex<Child>> = OnceLock::new();
    let watcher = WATCHER.get_or_init(|| Mutex::new(start()));
    let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = watcher.stdin.as_mut().expect("stdin is a pipe");
    // A single write, so that a line is complete even if this process is killed.
    let line = format!("{verb} {group}\n");
    pipe.write_all(line.as_bytes())
        .expect("the watcher of process groups has ended");
}

/// Starts the watcher in its own process group, so that a signal to the test's group spares it.
fn start() -> Child {
    Command::new("sh")
        .args(["-c", SCRIPT])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("failed to start the watcher of process groups")
}
