//! Names of processes.

/// Longest name that the kernel retains for a thread (`TASK_COMM_LEN`, include/linux/sched.h),
/// without the final zero.
const MAX_COMM: usize = 15;

/// Name of a process, from the name of its first thread, its executable's path and its first two
/// arguments. Programs name their first thread as they like (`MainThread`): its name is used where
/// it is that of the executable or of a script, as the kernel sets it, else the executable's name.
#[must_use]
pub fn process_name<'a>(comm: &'a str, executable: &'a str, arguments: [&str; 2]) -> &'a str {
    let executable = executable.strip_suffix(" (deleted)").unwrap_or(executable);
    let executable = file_name(executable);
    let files = [executable, file_name(arguments[0]), file_name(arguments[1])];
    let is_set_by_kernel = files.iter().any(|file| {
        let end = file.floor_char_boundary(MAX_COMM);
        // A link such as `python3` has another name than the file, `python3.11`.
        file[..end] == *comm
    });
    let is_known = is_set_by_kernel || executable.starts_with(comm);
    if (is_known && !comm.is_empty()) || executable.is_empty() {
        comm
    } else {
        executable
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_do_not_name_their_process() {
        for (comm, executable, arguments, expected) in [
            ("MainThread", "/usr/bin/node", ["node", "server.js"], "node"),
            (
                "nginx",
                "/usr/sbin/nginx",
                ["nginx: master process", ""],
                "nginx",
            ),
            (
                "python3",
                "/usr/bin/python3.11",
                ["python3", "x.py"],
                "python3",
            ),
            (
                "gunicorn",
                "/usr/bin/python3.11",
                ["/usr/bin/python3", "/usr/bin/gunicorn"],
                "gunicorn",
            ),
            (
                "prometheus-node",
                "/bin/prometheus-node-exporter",
                ["", ""],
                "prometheus-node",
            ),
            (
                "haproxy",
                "/usr/sbin/haproxy (deleted)",
                ["haproxy", "-W"],
                "haproxy",
            ),
            ("Worker", "/opt/app (deleted)", ["", ""], "app"),
            ("gone", "", ["", ""], "gone"),
            ("", "/bin/app", ["", ""], "app"),
        ] {
            assert_eq!(
                process_name(comm, executable, arguments),
                expected,
                "{comm}"
            );
        }
    }
}
