//! Where a server lets a session go that it has looked up and turned down.
//!
//! Called by `session`. `SSL_SESSION_free` itself runs several times in every handshake, mostly for sessions that are replaced or that
//! never were; what is wanted are the calls of it that mean "found, but not good enough": in the functions that look sessions up, which
//! are those that call `SSL_CTX_remove_session` too (`ssl_get_prev_session` in ssl/ssl_sess.c, `tls_parse_ctos_psk` in
//! ssl/statem/extensions_srvr.c), and there those whose argument was not just read from the connection, which is how a session is
//! replaced (`tls_process_new_session_ticket` does nothing else). A handshake that meets none costs nothing.

use std::collections::BTreeSet;

use super::cfg::Graph;
use super::elf::Image;
use super::isa::{First, Flow, Insn, Isa};
use super::{ProbePoint, points};

/// The calls looked for.
const FREE: &str = "SSL_SESSION_free";
/// Who calls this too looks sessions up.
const REMOVE: &str = "SSL_CTX_remove_session";
/// Calls both, directly or in parts that the compiler shares, and looks nothing up.
const ADD: &str = "SSL_CTX_add_session";
/// Exported since there is TLS 1.3, which looks sessions up in a function of its own.
const SINCE_TLS13: &str = "SSL_CTX_set_ciphersuites";
/// Calls are looked for so far from the called function, bytes: in a large program, only in the library's own part of it.
const NEAR: u64 = 2 << 20;
/// A linkage stub begins at most so far before its jump, bytes.
const STUB: u64 = 12;
/// Words through which a function may be called, at most. Seen are one and two.
const MAX_WORDS: usize = 4;
/// Functions looked into, at most. OpenSSL has 25 that let sessions go.
const MAX_FUNCTIONS: usize = 128;
/// Instructions before a call in which its argument is looked for.
const MAX_BEFORE: usize = 8;
/// Points, at most. Seen are 6 to 9.
const MAX_POINTS: usize = 24;

/// The calls, each with the session as its first argument, which may be null. `session` is where the connection object keeps its
/// session, bytes.
///
/// Empty unless all of them are found: some without the others would tell that a session was not found where it was.
pub(super) fn find(isa: &dyn Isa, ssl: &Image<'_>, session: u32) -> Vec<ProbePoint> {
    let names = [FREE, REMOVE, ADD].map(|name| ssl.symbol(name));
    let [Some(free), Some(remove), _] = names else {
        return Vec::new();
    };
    // What stands in for it may be in its callers, too: where they let sessions go cannot be seen.
    if !parts(isa, ssl, free).is_empty() {
        return Vec::new();
    }
    let freeing = called_as(isa, ssl, free);
    let mut removing = called_as(isa, ssl, remove);
    removing.extend(parts(isa, ssl, remove));
    let functions: BTreeSet<u64> = isa
        .calls(ssl, (free.saturating_sub(NEAR), NEAR * 2), &freeing)
        .into_iter()
        .filter_map(|at| ssl.function_around(at))
        .filter(|function| !names.contains(&Some(*function)))
        .collect();
    // A function and its rarely used part are looked into twice, and find the same.
    let mut lookups: Vec<BTreeSet<u64>> = Vec::new();
    for function in functions.into_iter().take(MAX_FUNCTIONS) {
        let Ok(graph) = Graph::walk(isa, ssl, &[function]) else {
            continue;
        };
        let insns = || graph.nodes.values().map(|node| &node.insn);
        if !insns().any(|insn| leads_to(insn, &removing)) {
            continue;
        }
        let calls: BTreeSet<u64> = insns()
            .filter(|insn| leads_to(insn, &freeing))
            .map(|insn| insn.at)
            .filter(|at| !names.contains(&ssl.function_around(*at)))
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
    let point = |at| points::point(isa, ssl, at, 0);
    calls
        .into_iter()
        .map(point)
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// The functions that the compiler split off from `function`, by where they begin: `SSL_SESSION_free.part.0`, or
/// `remove_session_lock`, to which `SSL_CTX_remove_session` jumps.
fn parts(isa: &dyn Isa, ssl: &Image<'_>, function: u64) -> BTreeSet<u64> {
    let Ok(graph) = Graph::walk(isa, ssl, &[function]) else {
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
fn called_as(isa: &dyn Isa, ssl: &Image<'_>, function: u64) -> BTreeSet<u64> {
    let words = ssl.words_to(function).into_iter().take(MAX_WORDS);
    let jumps = words.flat_map(|word| isa.stubs(ssl, word));
    jumps
        .flat_map(|jump| jump.at.saturating_sub(STUB)..=jump.at)
        .chain([function])
        .collect()
}

fn leads_to(insn: &Insn, targets: &BTreeSet<u64>) -> bool {
    matches!(insn.flow, Flow::Call(target) | Flow::Jump(target) if targets.contains(&target))
}

/// The argument of the call at `at` was read from where a connection keeps its session.
fn replaces(isa: &dyn Isa, ssl: &Image<'_>, graph: &Graph, at: u64, session: u32) -> bool {
    let mut after = at;
    for (before, node) in graph.nodes.range(..at).rev().take(MAX_BEFORE) {
        if node.insn.next != after || node.insn.is_call() {
            return false;
        }
        match isa.first_argument(ssl, *before) {
            First::Kept => after = *before,
            First::Read(offset) => return offset == i64::from(session),
            First::Changed => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::isa;
    use super::super::tests::{CODE, elf_of, image_of};
    use super::*;

    /// Whether the call at the end of this code lets go what the connection keeps at 0x918.
    fn replaced(code: &[u8]) -> bool {
        let bytes = elf_of(&[code, &[0xe8, 0, 0, 0, 0, 0xc3]].concat());
        let image = image_of(&bytes);
        let isa = isa::for_machine(image.machine).expect("x86-64");
        let graph = Graph::walk(isa.as_ref(), &image, &[CODE]).expect("a graph");
        let at = CODE + code.len() as u64;
        replaces(isa.as_ref(), &image, &graph, at, 0x918)
    }

    #[test]
    fn a_session_just_read_from_the_connection_is_replaced() {
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
