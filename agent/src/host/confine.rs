//! System calls that this process gives up, for good and for all its threads, once it observes: those by which a process that is
//! led astray starts programs, looks into or stops other processes, mounts, loads kernel modules, or changes who it is. They are
//! refused, not punished: an observer that is wrong about itself loses a feature and goes on.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use thiserror::Error;

/// Refused with `EPERM`.
const REFUSED: &[libc::c_long] = &[
    // Starting programs; what starts none after the canaries.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory, their descriptors, their end.
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
    // Mounts and namespaces: what is needed of them is had before.
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
    // The kernel and the machine.
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
    // Who it is.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_personality,
    // Favourite tools of exploits, of which nothing here makes use.
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// The same calls by their other doors: the numbers of x32 (arch/x86/entry/syscalls/syscall_64.tbl), which share the
/// architecture's mark.
#[cfg(target_arch = "x86_64")]
mod machine {
    const X32: libc::c_long = 0x4000_0000;
    /// `execve`, `ptrace`, `kexec_load`, `process_vm_readv`, `process_vm_writev`, `execveat` have numbers of their own there.
    const X32_ALONE: [libc::c_long; 6] = [520, 521, 528, 539, 540, 545];
    const MORE: [libc::c_long; 4] = [
        libc::SYS_kexec_file_load,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
    ];

    pub(super) fn all() -> impl Iterator<Item = libc::c_long> {
        let here = super::REFUSED.iter().copied().chain(MORE);
        let there = super::REFUSED.iter().copied().chain(MORE).chain(X32_ALONE);
        here.chain(there.map(|call| call | X32))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    pub(super) fn all() -> impl Iterator<Item = libc::c_long> {
        super::REFUSED.iter().copied()
    }
}

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum NoFilter {
    /// It could not be made.
    #[error("failed to make the seccomp filter")]
    Made(#[source] seccompiler::BackendError),
    /// The kernel took none.
    #[error("failed to install the seccomp filter")]
    Installed(#[source] seccompiler::Error),
}

/// Gives them up. Sets `no_new_privs` too. Call once all that needs them is done.
pub fn give_up_calls() {
    let installed = filter().and_then(|filter| {
        seccompiler::apply_filter_all_threads(&filter).map_err(NoFilter::Installed)
    });
    if let Err(error) = installed {
        tracing::warn!(reason = crate::chain(&error), "system calls not given up");
    }
}

fn filter() -> Result<BpfProgram, NoFilter> {
    let rules: BTreeMap<_, _> = machine::all().map(|call| (call, vec![])).collect();
    let machine = std::env::consts::ARCH.try_into().map_err(NoFilter::Made)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, machine)
        .and_then(TryInto::try_into)
        .map_err(NoFilter::Made)
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

    /// On a thread of its own: a filter is for ever.
    #[test]
    fn what_is_given_up_is_refused_and_all_else_goes_on() {
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
                // SAFETY: refused by the filter, or by a kernel without x32, before its arguments are looked at; they are null.
                let by_x32 = unsafe { libc::syscall(0x4000_0000 | 520, 0, 0, 0) };
                let errno = Errno::last();
                assert!(by_x32 == -1 && errno == Errno::EPERM, "{errno}");
            }
            // Threads and files are as ever.
            thread::spawn(|| fs::read("/proc/self/maps").unwrap().len())
                .join()
                .unwrap()
        });
        assert!(confined.join().unwrap() > 0);
        assert!(Command::new("true").status().unwrap().success());
    }
}
