//! Code of real accessors, run abstractly.

use super::*;
use crate::plan::tests::{CODE, elf_from_code, image_from_file};
use crate::plan::trace::Place;

fn run_code(code: &[u8], call: Call) -> Trace {
    let bytes = elf_from_code(code);
    let image = image_from_file(&bytes);
    run(&image, CODE, call)
}

fn returned_offset(code: &[u8]) -> Option<i64> {
    let trace = run_code(code, Call::default());
    let place = trace.source(trace.returned?)?;
    (place.object == 0).then_some(place.offset)
}

#[test]
fn accessor_with_one_load_names_its_field() {
    // SSL_session_reused, 3.0: mov eax, [rdi+0x4d0]; xor edi, edi; ret
    assert_eq!(
        returned_offset(&[0x8b, 0x87, 0xd0, 0x04, 0, 0, 0x31, 0xff, 0xc3]),
        Some(0x4d0)
    );
    // The same with `repz ret`.
    assert_eq!(
        returned_offset(&[0x8b, 0x87, 0xc8, 0, 0, 0, 0xf3, 0xc3]),
        Some(0xc8)
    );
}

#[test]
fn type_check_leads_to_the_plain_connection() {
    // SSL_session_reused, 3.2: type 0 is a connection, 1 a QUIC connection with a connection at
    // 0x40.
    let code = [
        0x48, 0x85, 0xff, 0x74, 0x1d, // test rdi, rdi; je
        0x8b, 0x17, 0x85, 0xd2, 0x74, 0x10, // mov edx, [rdi]; test edx, edx; je
        0x31, 0xc0, 0x83, 0xfa, 0x01, 0x75, 0x12, // xor eax, eax; cmp edx, 1; jne
        0x48, 0x8b, 0x7f, 0x40, // mov rdi, [rdi+0x40]
        0x48, 0x85, 0xff, 0x74, 0x09, // test rdi, rdi; je
        0x8b, 0x87, 0x88, 0x04, 0, 0, 0xc3, // mov eax, [rdi+0x488]; ret
        0x31, 0xc0, 0xc3, // xor eax, eax; ret
    ];
    assert_eq!(returned_offset(&code), Some(0x488));
}

#[test]
fn endbr64_and_internal_calls_are_skipped() {
    // SSL_session_reused, 3.5 with CET.
    let code = [
        0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x85, 0xff, 0x74, 0x35, // endbr64; test rdi, rdi; je
        0x8b, 0x07, 0x85, 0xc0, 0x74, 0x1f, // mov eax, [rdi]; test eax, eax; je
        0xa8, 0x80, 0x74, 0x2b, // test al, 0x80; je
        0x48, 0x83, 0xec, 0x08, 0xe8, 0xe4, 0xff, 0xff, 0xff, // sub rsp, 8; call
        0x48, 0x85, 0xc0, 0x74, 0x16, // test rax, rax; je
        0x8b, 0x80, 0x08, 0x05, 0, 0, 0x48, 0x83, 0xc4, 0x08, 0x31, 0xff,
        0xc3, // mov eax, [rax+0x508] ...
        0x8b, 0x87, 0x08, 0x05, 0, 0, 0x31, 0xff,
        0xc3, // mov eax, [rdi+0x508]; xor edi, edi; ret
        0x31, 0xc0, 0x48, 0x83, 0xc4, 0x08, 0xc3, 0x31, 0xc0, 0xc3,
    ];
    assert_eq!(returned_offset(&code), Some(0x508));
}

#[test]
fn store_of_a_method_slot_keeps_its_provenance() {
    // As in SSL_set_accept_state.
    let code = [
        0x53, 0x48, 0x89, 0xfb, // push rbx; mov rbx, rdi
        0xc7, 0x47, 0x38, 1, 0, 0, 0, // mov dword [rdi+0x38], 1
        0x48, 0x8d, 0x7f, 0x48, 0xe8, 0x86, 0xff, 0xff, 0xff, // lea rdi, [rdi+0x48]; call
        0x48, 0x8b, 0x43, 0x08, 0x48, 0x8b, 0x40,
        0x28, // mov rax, [rbx+8]; mov rax, [rax+0x28]
        0x48, 0x89, 0x43, 0x30, 0x5b, 0xc3, // mov [rbx+0x30], rax; pop rbx; ret
    ];
    let trace = run_code(&code, Call::default());
    let store = trace.writes.last().expect("a write");
    assert_eq!(
        (store.place, store.size),
        (
            Place {
                object: 0,
                offset: 0x30
            },
            8
        )
    );
    let slot = trace.source(store.value).expect("read from an object");
    assert_eq!(
        (trace.origin(slot.object), slot.offset),
        (
            Some(Place {
                object: 0,
                offset: 8
            }),
            0x28
        )
    );
    assert!(matches!(
        trace.calls[0][0],
        Value::Pointer(Place {
            object: 0,
            offset: 0x48
        })
    ));
}

#[test]
fn copy_in_place_is_a_copy() {
    // The end of SSL_get_client_random with musl's fortify headers.
    let code = [
        0x48, 0x8d, 0xb7, 0x88, 0x01, 0, 0, // lea rsi, [rdi+0x188]
        0xb9, 0x20, 0, 0, 0, // mov ecx, 32
        0xf3, 0xa4, 0xc3, // rep movsb; ret
    ];
    let place = Place {
        object: 0,
        offset: 0x188,
    };
    let trace = run_code(&code, Call::default());
    assert_eq!(trace.calls[0][1], Value::Pointer(place));
}

#[test]
fn endless_loop_ends() {
    assert_eq!(run_code(&[0xeb, 0xfe], Call::default()).returned, None);
    assert_eq!(
        run_code(&[0x50, 0xeb, 0xfd], Call::default()).returned,
        None
    );
}
