//! Kills the process groups of a test process that was itself killed and so ran no destructors, and
//! removes its cgroup.
//!
//! The kernel's parent death signal is not usable here: it fires when the spawning thread ends, and
//! a change of credentials, such as the agent's, clears it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads groups from a pipe until the test process closes it, then kills those that remain.
const SCRIPT: &str = r#"
groups=' ' cgroup=''
while read -r verb group; do
    case $verb in
    add) groups="$groups$group " ;;
    remove) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
    cgroup) cgroup=$group ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
[ -n "$cgroup" ] || exit 0
# Since 5.14; ends also what has left its process group.
echo 1 >"$cgroup/cgroup.kill"
tries=0
while [ -d "$cgroup" ] && [ $tries -lt 50 ]; do
    find "$cgroup" -depth -type d -exec rmdir {} \;
    tries=$((tries + 1))
    sleep 0.1
done
"#;

/// Kills the process group once this process has ended, unless it is removed before.
///
/// # Panics
/// If the watcher cannot be started.
pub fn add(group: u32) {
    send("add", &group.to_string());
}

/// Removes a process group that has ended: its number may be reused.
///
/// # Panics
/// If the watcher cannot be started.
pub fn remove(group: u32) {
    send("remove", &group.to_string());
}

/// Ends the processes of this cgroup and removes it once this process has ended.
///
/// # Panics
/// If the watcher cannot be started.
pub fn set_cgroup(path: &Path) {
    send("cgroup", &path.display().to_string());
}

fn send(verb: &str, what: &str) {
    static WATCHER: OnceLock<Mutex<Child>> = OnceLock::new();
    let watcher = WATCHER.get_or_init(|| Mutex::new(start()));
    let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = watcher.stdin.as_mut().expect("stdin is a pipe");
    // A single write, so that a line is complete even if this process is killed.
    let line = format!("{verb} {what}\n");
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
