//! Comparison of a plan with the ground truth. Returns all differences as text, so that one run
//! shows every fault of a carrier.

use std::collections::{BTreeMap, BTreeSet};

use super::code::Code;
use super::layout::Layout;
use super::plan::{Plan, Point};

/// Fields of a complete plan, with the names of `Plan::found`.
pub const FIELDS: [&str; 16] = [
    "state",
    "hand_state",
    "in_init",
    "server",
    "version",
    "hit",
    "rbio",
    "wbio",
    "rwstate",
    "client_random",
    "bio_flags",
    "session",
    "session_time",
    "session_timeout",
    "session_id",
    "session_id_length",
];
/// Fields of a complete plan for 1.0.2, which exports no function that reads the random.
pub const LEGACY_FIELDS: [&str; 13] = [
    "legacy_state",
    "server",
    "version",
    "hit",
    "rbio",
    "wbio",
    "rwstate",
    "bio_flags",
    "session",
    "session_time",
    "session_timeout",
    "session_id",
    "session_id_length",
];
/// Fields of a plan for a stripped static program.
pub const STRIPPED_FIELDS: [&str; 2] = ["state", "hand_state"];
/// Functions that may contain entries of the state machine; the second row is for 1.0.2.
const ENTRY: [&str; 9] = [
    "state_machine",
    "ossl_statem_accept",
    "ossl_statem_connect",
    "ssl23_accept",
    "ssl23_connect",
    "ssl3_accept",
    "ssl3_connect",
    "dtls1_accept",
    "dtls1_connect",
];
/// Functions that may contain its exits.
const EXIT: [&str; 7] = [
    "state_machine",
    "ssl23_accept",
    "ssl23_connect",
    "ssl3_accept",
    "ssl3_connect",
    "dtls1_accept",
    "dtls1_connect",
];

/// Functions that look up sessions, including the names that the linker gives to their parts.
const LOOKUP: [&str; 3] = [
    "ssl_get_prev_session",
    "tls_parse_ctos_psk",
    "ossl_statem_server_post_process_message",
];

/// Result of the comparison.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Number of comparisons.
    pub checks: u32,
    /// Descriptions of the differences.
    pub faults: Vec<String>,
}

impl Verdict {
    fn check(&mut self, passed: bool, fault: impl FnOnce() -> String) {
        self.checks += 1;
        if !passed {
            self.faults.push(fault());
        }
    }

    /// Checks that a part of the plan equals the expected value.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, have: &T, expected: &T) {
        self.check(have == expected, || {
            format!("{what} is {have:?}, not {expected:?}")
        });
    }

    /// Checks that every planned offset equals the compiler's and that none of `wanted` is missing.
    pub fn fields(&mut self, plan: &Plan, layout: &Layout, wanted: &[&str]) {
        for (name, offsets) in plan.found() {
            let truth = layout.get(name);
            self.check(truth == Some(&offsets), || {
                format!("{name} is planned at {offsets:#x?}, the compiler has it at {truth:#x?}")
            });
        }
        self.complete(plan, wanted);
    }

    /// Checks that none of `wanted` is missing.
    pub fn complete(&mut self, plan: &Plan, wanted: &[&str]) {
        let found: BTreeMap<_, _> = plan.found();
        for name in wanted {
            self.check(found.contains_key(name), || format!("{name} is not found"));
        }
    }

    /// Checks that the points where sessions are rejected are known if the lifetime field is.
    pub fn rejections(&mut self, plan: &Plan) {
        let known = plan.found().contains_key("session_timeout");
        self.check(known != plan.rejections.is_empty(), || {
            "where sessions are rejected is not found".to_owned()
        });
    }

    /// Checks that entries, exits, `SSL_free` and the error function lie in the functions with
    /// these names.
    pub fn named(&mut self, plan: &Plan, ssl: &Code, crypto: &Code) {
        for point in &plan.entries {
            self.inside("entry", ssl, *point, &ENTRY);
        }
        for point in &plan.exits {
            self.inside("exit", ssl, *point, &EXIT);
        }
        if let Some(point) = plan.free {
            self.inside("free", ssl, point, &["SSL_free"]);
        }
        // Stripped files have no symbols for them.
        if LOOKUP.iter().any(|name| !ssl.functions(name).is_empty()) {
            for point in &plan.rejections {
                self.inside("rejected session", ssl, *point, &LOOKUP);
            }
        }
        if let Some(error) = &plan.error {
            let code = if error.in_crypto { crypto } else { ssl };
            let (function, others) = match error.reason_arg {
                1 => (
                    "ERR_vset_error",
                    ["ERR_set_error", "ERR_vset_error"].as_slice(),
                ),
                _ => ("ERR_put_error", ["ERR_put_error"].as_slice()),
            };
            let stubs = code.stubs();
            let stubs: Vec<_> = others.iter().filter_map(|name| stubs.get(*name)).collect();
            if stubs.is_empty() {
                for point in &error.points {
                    self.inside("error", code, *point, &[function]);
                }
            } else {
                self.stubs(code, &error.points, &stubs);
            }
        }
    }

    /// Checks that each stub contains exactly one of the points and that no point is elsewhere.
    fn stubs(&mut self, code: &Code, points: &[Point], stubs: &[&BTreeSet<u64>]) {
        let addresses: Vec<_> = points
            .iter()
            .filter_map(|point| code.address(point.offset))
            .collect();
        let inside = |stub: &BTreeSet<u64>| addresses.iter().filter(|at| stub.contains(at)).count();
        let counts: Vec<_> = stubs.iter().map(|stub| inside(stub)).collect();
        let expected = vec![1; points.len()];
        self.check(counts == expected, || {
            format!("errors are probed at {addresses:#x?}: {counts:?} in the stubs {stubs:#x?}")
        });
    }

    fn inside(&mut self, what: &str, code: &Code, point: Point, names: &[&str]) {
        let functions: Vec<_> = names.iter().flat_map(|name| code.functions(name)).collect();
        let address = code.address(point.offset);
        let home = functions
            .iter()
            .find(|(_, range)| address.is_some_and(|at| range.contains(&at)));
        self.check(home.is_some(), || {
            format!(
                "{what} at file offset {:#x} is in none of {functions:x?}",
                point.offset
            )
        });
    }

    /// Checks that every point is the first byte of an instruction in executable code, at the stack
    /// depth that the call frames describe.
    pub fn shape(&mut self, plan: &Plan, ssl: &Code, crypto: &Code) {
        let state_machine = plan.entries.iter().chain(&plan.exits);
        let points = state_machine.map(|point| (ssl, *point, true));
        let single = plan.free.iter().chain(&plan.rejections);
        let free = single.map(|point| (ssl, *point, false));
        let error = plan.error.iter().flat_map(|error| {
            let code = if error.in_crypto { crypto } else { ssl };
            // Some linkers write no call frames for stubs, which are compared with the disassembly
            // instead.
            let stubs = code.stubs();
            let stub = |at: u64| stubs.values().any(|stub| stub.contains(&at));
            let points = error.points.iter();
            let mut points: Vec<_> = points.map(|point| (code, *point, false)).collect();
            points.retain(|(code, point, _)| !code.address(point.offset).is_some_and(stub));
            points
        });
        let mut instructions = BTreeMap::new();
        for (code, point, joined) in points.chain(free).chain(error) {
            let at = format!("file offset {:#x}", point.offset);
            let Some(address) = code.address(point.offset) else {
                self.check(false, || format!("{at} is not executable"));
                continue;
            };
            let frame = code.frame(address);
            self.check(frame.is_some(), || format!("{at} is in no function"));
            let Some(frame) = frame else { continue };
            // Disassembling a file as large as Node.js takes a second.
            let starts = instructions
                .entry((std::ptr::from_ref(code), frame.range.start))
                .or_insert_with(|| code.instructions(&frame.range));
            self.check(starts.contains(&address), || {
                format!("{at} is no instruction's first byte")
            });
            if let Some(depth) = frame.depth.filter(|_| joined) {
                self.check(depth == point.sp_delta, || {
                    format!(
                        "{at} is planned {:#x} below entry, call frames have {depth:#x}",
                        point.sp_delta
                    )
                });
            }
        }
        self.check(!plan.entries.is_empty(), || "no entry".to_owned());
        self.check(!plan.exits.is_empty(), || "no exit".to_owned());
    }
}
