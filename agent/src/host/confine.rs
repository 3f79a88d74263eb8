//! A seccomp filter for all threads of the running agent. It blocks the system calls by which a
//! compromised process could start programs, inspect or stop other processes, mount file systems,
//! load kernel modules or change its credentials. Blocked calls return an error instead of killing
//! the process: if the list is wrong, the agent loses a feature and continues.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use thiserror::Error;

use crate::errors::chain;

/// System calls that fail with `EPERM`.
const BLOCKED: &[libc::c_long] = &[
    // Starting programs; the canary processes have been started before.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Memory, descriptors and termination of other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Mounts and namespaces; private mounts have been made before.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // State of the kernel and the machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // Credentials.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_personality,
    // Calls that exploits often use and the agent does not.
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// The same calls under their x32 numbers (arch/x86/entry/syscalls/syscall_64.tbl), which have the
/// same audit architecture.
#[cfg(target_arch = "x86_64")]
mod machine {
    const X32: libc::c_long = 0x4000_0000;
    /// x32 numbers of `execve`, `ptrace`, `kexec_load`, `process_vm_readv`, `process_vm_writev` and
    /// `execveat`, which differ from the 64-bit ones.
    const X32_ONLY: [libc::c_long; 6] = [520, 521, 528, 539, 540, 545];
    const X86_ONLY: [libc::c_long; 4] = [
        libc::SYS_kexec_file_load,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
    ];

    pub(super) fn all() -> impl Iterator<Item = libc::c_long> {
        let native = super::BLOCKED.iter().copied().chain(X86_ONLY);
        let x32 = super::BLOCKED
            .iter()
            .copied()
            .chain(X86_ONLY)
            .chain(X32_ONLY);
        native.chain(x32.map(|call| call | X32))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    pub(super) fn all() -> impl Iterator<Item = libc::c_long> {
        super::BLOCKED.iter().copied()
    }
}

/// Failure to install the filter.
#[derive(Debug, Error)]
enum FilterError {
    /// The filter cannot be compiled.
    #[error("failed to build the seccomp filter")]
    Build(#[source] seccompiler::BackendError),
    /// The kernel rejected the filter.
    #[error("failed to install the seccomp filter")]
    Install(#[source] seccompiler::Error),
}

/// Installs the filter for all threads and sets `no_new_privs`. Must run after everything that
/// needs a blocked call.
pub(crate) fn install_filter() {
    let installed = filter().and_then(|filter| {
        seccompiler::apply_filter_all_threads(&filter).map_err(FilterError::Install)
    });
    if let Err(error) = installed {
        tracing::warn!(
            reason = chain(&error),
            "failed to install the seccomp filter"
        );
    }
}

fn filter() -> Result<BpfProgram, FilterError> {
    let rules: BTreeMap<_, _> = machine::all().map(|call| (call, vec![])).collect();
    let machine = std::env::consts::ARCH
        .try_into()
        .map_err(FilterError::Build)?;
    let blocked = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, blocked, machine)
        .and_then(TryInto::try_into)
        .map_err(FilterError::Build)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command, thread};

    use nix::{
        errno::Errno,
        sched::{CloneFlags, unshare},
        sys::signal::kill,
        unistd::Pid,
    };

    use super::*;

    /// Runs on its own thread because a filter cannot be removed.
    #[test]
    fn blocked_calls_fail_and_all_others_work() {
        let confined = thread::spawn(|| {
            assert!(Command::new("true").status().unwrap().success());
            seccompiler::apply_filter(&filter().unwrap()).unwrap();
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Seccomp:\t2\n"), "{status}");
            assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
            let started = Command::new("true").status().unwrap_err();
            assert_eq!(started.raw_os_error(), Some(libc::EPERM));
            assert_eq!(kill(Pid::this(), None), Err(Errno::EPERM));
            let apart = unshare(CloneFlags::CLONE_FS);
            assert_eq!(apart, Err(Errno::EPERM));
            #[cfg(target_arch = "x86_64")]
            {
                // SAFETY: the filter, or a kernel without x32, rejects the call before it reads its
                // arguments, which are null.
                let by_x32 = unsafe { libc::syscall(0x4000_0000 | 520, 0, 0, 0) };
                let errno = Errno::last();
                assert!(by_x32 == -1 && errno == Errno::EPERM, "{errno}");
            }
            // Threads and files still work.
            thread::spawn(|| fs::read("/proc/self/maps").unwrap().len())
                .join()
                .unwrap()
        });
        assert!(confined.join().unwrap() > 0);
        assert!(Command::new("true").status().unwrap().success());
    }
}
