//! The attach points of a library's plan, with the cookie that each program reads.

use std::fs::File;

use reprise_core::plan::{ErrorProbe, Plan, ProbePoint};
use reprise_ebpf::handshake::{ErrorCookie, cookie};

use super::layout::LayoutSlot;

/// One attach point of a program.
pub(super) struct AttachPoint<'a> {
    /// Name of the program.
    pub(super) probe: &'static str,
    /// File that the point is in.
    pub(super) file: &'a File,
    /// Offset in the file.
    pub(super) offset: u64,
    /// Value that the program reads at this point.
    pub(super) cookie: u64,
}

/// Open files of one library.
pub(super) struct LibraryFiles<'a> {
    pub(super) ssl: &'a File,
    /// The crypto library, if it is a separate file.
    pub(super) crypto: Option<&'a File>,
}

/// The attach points of a plan, in the order in which they are attached; they are detached in
/// reverse. Exits are probed before entries, so that no handshake is entered without its exit being
/// observed; and `SSL_free` last, so that it ends no handshake whose other probes are gone.
pub(super) fn attach_points<'a>(
    slot: LayoutSlot,
    plan: &Plan,
    files: &LibraryFiles<'a>,
) -> Vec<AttachPoint<'a>> {
    let ssl = files.ssl;
    let at = |probe, point: &ProbePoint, sp_delta| AttachPoint {
        probe,
        file: ssl,
        offset: point.offset,
        cookie: cookie(slot.0, sp_delta),
    };
    let mut points = Vec::new();
    for exit in &plan.exits {
        points.push(at("hs_exit", exit, exit.sp_delta));
    }
    if let Some(error) = &plan.error
        && let Some(file) = if error.in_crypto {
            files.crypto
        } else {
            Some(ssl)
        }
    {
        let cookie = error_cookie(plan, error);
        points.extend(error.points.iter().map(|point| AttachPoint {
            probe: "hs_error",
            file,
            offset: point.offset,
            cookie,
        }));
    }
    for call in &plan.session.rejections {
        points.push(at("hs_rejected", call, 0));
    }
    if let Some(removal) = &plan.session.removal {
        points.push(at("hs_forget", removal, 0));
    }
    for entry in &plan.entries {
        points.push(at("hs_enter", entry, 0));
    }
    if let Some(free) = &plan.free {
        points.push(at("hs_free", free, 0));
    }
    points
}

/// Cookie of the error probe. The SSL library has number 20 (`ERR_LIB_SSL`, include/openssl/err.h),
/// and 16 in BoringSSL. There only alert reasons, 1000 and up, have OpenSSL's numbers; all others
/// count as an error of unknown reason.
fn error_cookie(plan: &Plan, error: &ErrorProbe) -> u64 {
    let (library, first_reason) = match plan.fields.handshake {
        Some(_) => (16, 1000),
        None => (20, 0),
    };
    ErrorCookie {
        reason_arg: error.reason_arg,
        library,
        first_reason,
    }
    .bits()
}
