//! The handshake functions of a stripped library, found by the layout of its method tables.
//!
//! An `SSL_METHOD` (ssl/ssl_local.h, 1.1.0 and later) begins with version, flags and mask, and
//! continues with pointers to functions. `IMPLEMENT_tls_meth_func` (ssl/methods.c) creates exactly
//! three with `TLS_ANY_VERSION`, no flags and no mask: for both roles, for servers, for clients.
//! They differ only in `accept` and in the next slot, `connect`, which are `ssl_undefined_function`
//! in the tables of the other role.

use super::elf::Image;

/// `TLS_ANY_VERSION` (include/openssl/tls1.h), with flags 0 in the upper half of the word.
const ANY_VERSION: u64 = 0x1_0000;
/// Fewest functions in a table, and limit of those read.
const MIN_SLOTS: usize = 15;
const MAX_SLOTS: usize = 40;
/// Limit of words that may begin a table.
const MAX_CANDIDATES: usize = 1 << 12;
/// Limit of tables that are compared.
const MAX_TABLES: usize = 8;

/// The handshake functions, and the table that holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandshakeFunctions {
    /// The table for both roles.
    pub(super) table: u64,
    /// Offset of `accept` in it.
    pub(super) slot: u64,
    /// `ossl_statem_accept`.
    pub(super) accept: u64,
    /// `ossl_statem_connect`.
    pub(super) connect: u64,
}

/// Searches for the tables; `None` unless exactly one choice of three tables fits.
pub(super) fn find(image: &Image<'_>) -> Option<HandshakeFunctions> {
    let tables: Vec<(u64, Vec<u64>)> = image
        .table_heads(ANY_VERSION, MAX_CANDIDATES)
        .into_iter()
        .filter_map(|at| Some((at, slots(image, at.checked_add(16)?)?)))
        .take(MAX_TABLES)
        .collect();
    let mut found = Vec::new();
    for (both_at, both) in &tables {
        for (_, server) in &tables {
            for (_, client) in &tables {
                found.extend(compare(*both_at, both, server, client));
            }
        }
    }
    match found.as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

/// The functions in a table.
fn slots(image: &Image<'_>, start: u64) -> Option<Vec<u64>> {
    let functions: Vec<u64> = (0..MAX_SLOTS as u64)
        .map_while(|slot| image.pointer(start.checked_add(slot * 8)?))
        .take_while(|function| image.is_code(*function))
        .collect();
    (functions.len() >= MIN_SLOTS).then_some(functions)
}

/// Compares tables as those of both roles, of servers and of clients: they differ in two
/// neighbouring slots, in one each, and by the same function.
fn compare(table: u64, both: &[u64], server: &[u64], client: &[u64]) -> Option<HandshakeFunctions> {
    let size = both.len().min(server.len()).min(client.len());
    let only_difference = |other: &[u64]| {
        let mut different = (0..size).filter(|slot| both.get(*slot) != other.get(*slot));
        different.next().filter(|_| different.next().is_none())
    };
    let (connect, accept) = (only_difference(server)?, only_difference(client)?);
    let undefined = server.get(connect)?;
    let fits = accept.checked_add(1)? == connect && client.get(accept)? == undefined;
    let (accept_at, connect_at) = (*both.get(accept)?, *both.get(connect)?);
    (fits && accept_at != connect_at).then_some(HandshakeFunctions {
        table,
        slot: 16 + accept as u64 * 8,
        accept: accept_at,
        connect: connect_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_differ_in_their_undefined_slots() {
        let both: Vec<u64> = (100..116).collect();
        let (mut server, mut client) = (both.clone(), both.clone());
        server[5] = 7;
        client[4] = 7;
        let found = HandshakeFunctions {
            table: 1,
            slot: 48,
            accept: 104,
            connect: 105,
        };
        assert_eq!(compare(1, &both, &server, &client), Some(found));
        assert_eq!(compare(1, &both, &client, &server), None, "roles swapped");
        assert_eq!(compare(1, &server, &both, &client), None);
        client[4] = 8;
        assert_eq!(compare(1, &both, &server, &client), None, "two functions");
        client[4] = 7;
        client[9] = 7;
        assert_eq!(compare(1, &both, &server, &client), None, "a third slot");
    }
}
