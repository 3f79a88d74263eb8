//! The calls by which a server releases a session that it has looked up and rejected.
//!
//! `SSL_SESSION_free` runs several times in every handshake, mostly for a session that is replaced
//! or for a null pointer. A rejection is a call of it in a function that looks sessions up. Those
//! functions call `SSL_CTX_remove_session`, too (`ssl_get_prev_session` in ssl/ssl_sess.c,
//! `tls_parse_ctos_psk` in ssl/statem/extensions_srvr.c). Calls whose argument was just loaded from
//! the connection replace its session, and are excluded (`tls_process_new_session_ticket` has no
//! others). A handshake that passes none of the calls costs nothing.

use std::collections::BTreeSet;

use super::cfg::Graph;
use super::elf::Image;
use super::insn::{FirstArgument, Flow, Insn};
use super::isa::Isa;
use super::points;
use super::probe_plan::ProbePoint;

/// The function whose calls are searched.
const FREE: &str = "SSL_SESSION_free";
/// Functions that call this one, too, look up sessions.
const REMOVE: &str = "SSL_CTX_remove_session";
/// Calls both, directly or in parts that the compiler shares, but looks up no session.
const ADD: &str = "SSL_CTX_add_session";
/// Exported by versions with TLS 1.3, which look up sessions in a further function.
const SINCE_TLS13: &str = "SSL_CTX_set_ciphersuites";
/// Greatest distance of a call from the called function, bytes: limits the search in a large
/// program to the library's part.
const NEAR: u64 = 2 << 20;
/// Greatest distance of a linkage stub's jump from its start, bytes.
const STUB: u64 = 12;
/// Limit of words through which a function is called. Known builds have one or two.
const MAX_WORDS: usize = 4;
/// Limit of functions analysed. OpenSSL has 25 that release sessions.
const MAX_FUNCTIONS: usize = 128;
/// Limit of instructions before a call in which its argument is traced.
const MAX_BEFORE: usize = 8;
/// Limit of probe points. Known builds have 6 to 9.
const MAX_POINTS: usize = 24;

/// Returns the calls, each with the session, which may be null, as its first argument. `session` is
/// the offset of the session pointer in the connection object, bytes.
///
/// Empty unless all calls are found: with some missing, a rejected session would be reported as not
/// found.
pub(super) fn find(isa: &dyn Isa, ssl: &Image<'_>, session: u32) -> Vec<ProbePoint> {
    let names = [FREE, REMOVE, ADD].map(|name| ssl.symbol(name));
    let [Some(free), Some(remove), _] = names else {
        return Vec::new();
    };
    // The compiler may have inlined a part into the callers, where it cannot be observed.
    if !parts(isa, ssl, free).is_empty() {
        return Vec::new();
    }
    let freeing = call_targets(isa, ssl, free);
    let mut removing = call_targets(isa, ssl, remove);
    removing.extend(parts(isa, ssl, remove));
    let start = free.saturating_sub(NEAR);
    let functions: BTreeSet<u64> = isa
        .direct_calls(ssl, start..start.saturating_add(2 * NEAR), &freeing)
        .into_iter()
        .filter_map(|at| ssl.function_containing(at))
        .filter(|function| !names.contains(&Some(*function)))
        .collect();
    // A function and its cold part are analysed separately and find the same calls.
    let mut lookups: Vec<BTreeSet<u64>> = Vec::new();
    for function in functions.into_iter().take(MAX_FUNCTIONS) {
        let Ok(graph) = Graph::build(isa, ssl, &[function]) else {
            continue;
        };
        let insns = || graph.nodes.values().map(|node| &node.insn);
        if !insns().any(|insn| enters_any(insn, &removing)) {
            continue;
        }
        let calls: BTreeSet<u64> = insns()
            .filter(|insn| enters_any(insn, &freeing))
            .map(|insn| insn.at)
            .filter(|at| !names.contains(&ssl.function_containing(*at)))
            .filter(|at| !replaces(isa, ssl, &graph, *at, session))
            .collect();
        match lookups.iter_mut().find(|known| !known.is_disjoint(&calls)) {
            Some(known) => known.extend(calls),
            None if calls.is_empty() => {}
            None => lookups.push(calls),
        }
    }
    let wanted = match ssl.symbol(SINCE_TLS13) {
        Some(_) => 2,
        None => 1,
    };
    let calls: BTreeSet<u64> = lookups.iter().flatten().copied().collect();
    if lookups.len() < wanted || calls.len() > MAX_POINTS {
        return Vec::new();
    }
    let point = |at| points::for_instruction(isa, ssl, at, 0);
    calls
        .into_iter()
        .map(point)
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// Addresses of the functions that the compiler split off from `function`:
/// `SSL_SESSION_free.part.0`, or `remove_session_lock`, to which `SSL_CTX_remove_session` jumps.
fn parts(isa: &dyn Isa, ssl: &Image<'_>, function: u64) -> BTreeSet<u64> {
    let Ok(graph) = Graph::build(isa, ssl, &[function]) else {
        return BTreeSet::new();
    };
    let targets = graph
        .nodes
        .values()
        .filter_map(|node| match node.insn.flow {
            Flow::Jump(target) | Flow::Branch(target) => Some(target),
            _ => None,
        });
    targets
        .filter(|target| *target != function && ssl.is_function_start(*target))
        .collect()
}

/// The addresses by which code of the image calls `function`: its own, and those of linkage stubs.
fn call_targets(isa: &dyn Isa, ssl: &Image<'_>, function: u64) -> BTreeSet<u64> {
    let words = ssl.words_pointing_to(function).into_iter().take(MAX_WORDS);
    let jumps = words.flat_map(|word| isa.plt_jumps(ssl, word));
    jumps
        .flat_map(|jump| jump.at.saturating_sub(STUB)..=jump.at)
        .chain([function])
        .collect()
}

/// Whether the instruction is a direct call of, or jump to, one of `targets`.
fn enters_any(insn: &Insn, targets: &BTreeSet<u64>) -> bool {
    matches!(insn.flow, Flow::Call(target) | Flow::Jump(target) if targets.contains(&target))
}

/// Whether the argument of the call at `at` was loaded from the session pointer of a connection.
fn replaces(isa: &dyn Isa, ssl: &Image<'_>, graph: &Graph, at: u64, session: u32) -> bool {
    let mut after = at;
    for (before, node) in graph.nodes.range(..at).rev().take(MAX_BEFORE) {
        if node.insn.next != after || node.insn.is_call() {
            return false;
        }
        match isa.first_argument_effect(ssl, *before) {
            FirstArgument::Unchanged => after = *before,
            FirstArgument::Loaded(offset) => return offset == i64::from(session),
            FirstArgument::Overwritten => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::machine;
    use super::super::tests::{CODE, elf_from_code, image_from_file};
    use super::*;

    /// Whether the call at the end of this code releases the session pointer at 0x918.
    fn replaced(code: &[u8]) -> bool {
        let bytes = elf_from_code(&[code, &[0xe8, 0, 0, 0, 0, 0xc3]].concat());
        let image = image_from_file(&bytes);
        let isa = machine::isa_for(image.machine).expect("x86-64");
        let graph = Graph::build(isa.as_ref(), &image, &[CODE]).expect("a graph");
        let at = CODE + code.len() as u64;
        replaces(isa.as_ref(), &image, &graph, at, 0x918)
    }

    #[test]
    fn session_loaded_from_the_connection_is_replaced() {
        // mov rdi, [rbx+0x918]
        assert!(replaced(&[0x48, 0x8b, 0xbb, 0x18, 0x09, 0, 0]));
        // … test rdi, rdi; je
        assert!(replaced(&[
            0x48, 0x8b, 0xbb, 0x18, 0x09, 0, 0, 0x48, 0x85, 0xff, 0x74, 0x05
        ]));
        // mov rdi, [rbx+0x278]
        assert!(!replaced(&[0x48, 0x8b, 0xbb, 0x78, 0x02, 0, 0]));
        // mov rdi, [rbx+0x918]; mov rdi, rbp
        assert!(!replaced(&[
            0x48, 0x8b, 0xbb, 0x18, 0x09, 0, 0, 0x48, 0x89, 0xef
        ]));
        // mov rdi, [rsp+0x48]
        assert!(!replaced(&[0x48, 0x8b, 0x7c, 0x24, 0x48]));
    }
}
