//! Plans of generated libraries that hold only the code under test.

use super::super::{Field, Hook, boringssl, fields, machine};
use super::library_builder::LibraryBuilder;
use super::{CODE, elf_from_code, image_from_file};

/// `mov esi, role; jmp body`, after an early return if `state` is 1.
fn role(at: u64, body: u64, role: u8) -> Vec<u8> {
    let mut code = vec![
        0x83, 0x7f, 0x48, 0x01, // cmp [rdi+0x48], 1
        0x74, 0x0a, // je 10
        0xbe, role, 0, 0, 0,    // mov esi, role
        0xe9, // jmp
    ];
    let distance = body.wrapping_sub(at + 16) as u32;
    code.extend(distance.to_le_bytes());
    code.push(0xc3); // 10: ret
    code
}

/// A state machine with `hand_state` at this offset.
fn state_machine(hand_state: u8) -> Vec<u8> {
    vec![
        0x53, // push rbx
        0x48, 0x89, 0xfb, // mov rbx, rdi
        0xe8, 0, 0, 0, 0, // call
        0xc7, 0x43, 0x48, 4, 0, 0, 0, // mov [rbx+0x48], 4
        0xc7, 0x43, hand_state, 1, 0, 0, 0,    // mov [rbx+hand_state], 1
        0x90, // nop
        0x5b, 0xc3, // pop rbx; ret
    ]
}

/// Three method tables, without symbols.
pub(super) fn stripped(hand_state: u8) -> LibraryBuilder {
    let mut built = LibraryBuilder::new();
    let body = built.add(&state_machine(hand_state));
    let at = built.here().next_multiple_of(16);
    let accept = built.add(&role(at, body, 1));
    let at = built.here().next_multiple_of(16);
    let connect = built.add(&role(at, body, 0));
    let other = built.add(&[0xc3]);
    let undefined = built.add(&[0xc3]);
    for (accept, connect) in [(accept, connect), (accept, undefined), (undefined, connect)] {
        let mut functions = vec![other; 16];
        functions[3] = accept;
        functions[4] = connect;
        built.table(&[0x1_0000, 0], &functions);
    }
    built
}

#[test]
fn stripped_library_is_planned_from_its_tables() {
    let plan = stripped(0x5c).plan().expect("three tables");
    assert_eq!(plan.hook, Hook::StateMachine);
    assert_eq!(
        (plan.fields.state, plan.fields.hand_state, plan.fields.hit),
        (Some(Field::direct(0x48)), Some(Field::direct(0x5c)), None)
    );
    let exits: Vec<_> = plan.exits.iter().map(|exit| exit.sp_delta).collect();
    assert_eq!(exits, [8]);
}

#[test]
fn stripped_library_without_a_certain_state_is_rejected() {
    let error = stripped(0x70).plan().expect_err("no hand_state");
    assert_eq!(error.label(), "nameless_state");
    assert!(error.to_string().contains("nothing writes"), "{error}");
}

#[test]
fn tables_are_read_without_section_headers() {
    let mut built = LibraryBuilder::new();
    let function = built.function("SSL_free", &[0xc3]);
    let table = built.table(&[7], &[function]);
    let file = built.file();
    let image = image_from_file(&file);
    assert_eq!(image.symbol("SSL_free"), Some(function));
    assert_eq!(image.pointer(table), Some(7));
    assert_eq!(image.pointer(table + 8), Some(function));
}

#[test]
fn each_handshake_function_of_an_old_library_is_an_entry() {
    let mut built = LibraryBuilder::new();
    let drive = [
        0x53, // push rbx
        0xe8, 0, 0, 0, 0,    // call
        0x90, // nop
        0x5b, 0xc3, // pop rbx; ret
    ];
    let functions = [0; 4].map(|_| built.add(&drive));
    let [accept, connect, any_accept, any_connect] = functions;
    let version_two = built.add(&[0xc3]);
    let one = built.table(&[0x301, 0, 0, 0], &[accept, connect]);
    let any = built.table(&[0x301, 0, 0, 0], &[any_accept, any_connect]);
    let none = built.table(&[2, 0, 0, 0], &[version_two, version_two]);
    built.constant("TLSv1_method", one);
    built.constant("SSLv23_method", any);
    built.constant("SSLv3_method", none);
    // SSL 2 is not built in.
    built.constant("SSLv2_method", 0);
    for (name, slot) in [
        ("SSL_set_accept_state", 0x20),
        ("SSL_set_connect_state", 0x28),
    ] {
        // mov rax, [rdi+8]; mov rax, [rax+slot]; mov [rdi+0x30], rax; ret
        built.function(
            name,
            &[
                0x48, 0x8b, 0x47, 0x08, 0x48, 0x8b, 0x40, slot, 0x48, 0x89, 0x47, 0x30, 0xc3,
            ],
        );
    }
    built.accessor("SSL_state", 0x48);
    built.accessor("SSL_is_server", 0x38);
    // cmp esi, 8; jne 9; mov eax, [rdi+0x68]; ret; 9: xor eax, eax; ret
    built.function(
        "ssl3_ctrl",
        &[
            0x83, 0xfe, 0x08, 0x75, 0x04, 0x8b, 0x47, 0x68, 0xc3, 0x31, 0xc0, 0xc3,
        ],
    );
    let plan = built.plan().expect("an old library");
    assert_eq!(plan.hook, Hook::MethodTable);
    let mut entries: Vec<u64> = plan.entries.iter().map(|entry| entry.offset).collect();
    entries.sort_unstable();
    let offsets = functions.map(|at| at - CODE + 120);
    assert_eq!(entries, offsets);
    assert_eq!(plan.exits.len(), 4);
    let fields = plan.fields;
    assert_eq!(
        (fields.legacy_state, fields.state, fields.hand_state),
        (Some(Field::direct(0x48)), None, None)
    );
    assert_eq!(
        (fields.hit, fields.server),
        (Some(Field::direct(0x68)), Some(Field::direct(0x38)))
    );
}

/// OpenSSL with a handshake function that is in no method table.
fn without_tables() -> LibraryBuilder {
    let mut built = LibraryBuilder::new();
    let drive = [
        0x53, // push rbx
        0xe8, 0, 0, 0, 0,    // call
        0x5b, // pop rbx
        0xc3, // ret
    ];
    let at = built.function("SSL_do_handshake", &drive);
    // mov rax, [rdi+8]; call [rax+0x20]; ret
    built.function(
        "SSL_accept",
        &[0x48, 0x8b, 0x47, 0x08, 0xff, 0x50, 0x20, 0xc3],
    );
    // call SSL_do_handshake; ret
    let here = built.here().next_multiple_of(16);
    let mut code = vec![0xe8];
    code.extend((at.wrapping_sub(here + 5) as u32).to_le_bytes());
    code.push(0xc3);
    built.function("SSL_connect", &code);
    built.function("SSL_set_accept_state", &[0xc3]);
    built.accessor("SSL_get_state", 0x5c);
    // mov eax, [rdi+0x5c]; or eax, [rdi+0x48]; ret
    built.function("SSL_in_before", &[0x8b, 0x47, 0x5c, 0x0b, 0x47, 0x48, 0xc3]);
    built.accessor("SSL_is_server", 0x38);
    built
}

#[test]
fn exported_functions_are_probed_without_a_state_machine() {
    let plan = without_tables().plan().expect("by its exported functions");
    assert_eq!(plan.hook, Hook::DoHandshake);
    // `SSL_connect` calls `SSL_do_handshake`, which covers it.
    assert_eq!((plan.entries.len(), plan.exits.len()), (2, 2));
    assert!(plan.exits.iter().all(|exit| exit.sp_delta == 0));
    let fields = plan.fields;
    assert_eq!(
        (fields.state, fields.hand_state, fields.server),
        (
            Some(Field::direct(0x48)),
            Some(Field::direct(0x5c)),
            Some(Field::direct(0x38))
        )
    );
    // Fields without an accessor are unknown, which is not an error.
    assert_eq!(
        (fields.hit, fields.version, fields.in_init),
        (None, None, None)
    );
    let mut built = without_tables();
    built.functions.retain(|(name, _)| *name != "SSL_get_state");
    let error = built.plan().expect_err("no state");
    assert_eq!(error.label(), "method_slot");
}

/// Accessors of BoringSSL with the offsets of a real build: the handshake object is behind 0x30 and
/// 0x110.
fn boringssl() -> LibraryBuilder {
    let mut built = LibraryBuilder::new();
    built.function("SSL_CTX_set_grease_enabled", &[0xc3]);
    built.function(
        "SSL_do_handshake",
        &[
            0x53, // push rbx
            0xe8, 0, 0, 0, 0,    // call
            0x5b, // pop rbx
            0xc3, // ret
        ],
    );
    built.function(
        "SSL_in_init",
        &[
            0x48, 0x8b, 0x47, 0x30, // mov rax, [rdi+0x30]
            0x48, 0x8b, 0x88, 0x10, 1, 0, 0, // mov rcx, [rax+0x110]
            0x31, 0xc0, // xor eax, eax
            0x48, 0x85, 0xc9, // test rcx, rcx
            0x74, 0x0a, // je 10
            0xf6, 0x81, 0x18, 6, 0, 0, 0x08, // test byte [rcx+0x618], 8
            0x0f, 0x94, 0xc0, // sete al
            0xc3, // 10: ret
        ],
    );
    built.function(
        "SSL_is_server",
        &[
            0x0f, 0xb6, 0x87, 0xa4, 0, 0, 0, // movzx eax, byte [rdi+0xa4]
            0x83, 0xe0, 0x01, // and eax, 1
            0xc3,
        ],
    );
    built.function(
        "SSL_state_string_long",
        &[
            0x48, 0x8b, 0x4f, 0x30, // mov rcx, [rdi+0x30]
            0x48, 0x8b, 0xb9, 0x10, 1, 0, 0, // mov rdi, [rcx+0x110]
            0x8b, 0x47, 0x14, // mov eax, [rdi+0x14]
            0xc3,
        ],
    );
    built.function(
        "SSL_session_reused",
        &[
            0x48, 0x8b, 0x4f, 0x30, // mov rcx, [rdi+0x30]
            0xb8, 1, 0, 0, 0, // mov eax, 1
            0xf6, 0x81, 0xd4, 0, 0, 0, 0x40, // test byte [rcx+0xd4], 0x40
            0x75, 0x07, // jne 7
            0x50, // push rax
            0xe8, 0, 0, 0, 0,    // call
            0x59, // pop rcx
            0xc3, // 7: ret
        ],
    );
    built
}

#[test]
fn boringssl_is_planned_at_its_handshake_function() {
    let plan = boringssl().plan().expect("BoringSSL");
    assert_eq!(plan.hook, Hook::DoHandshake);
    assert_eq!((plan.entries.len(), plan.exits.len()), (1, 1));
    let object = [Some(0x30), Some(0x110)];
    let fields = plan.fields;
    assert_eq!(fields.handshake, Some(Field::behind(0x30, 0x110)));
    assert_eq!(
        fields.step.map(|step| (step.through, step.offset)),
        Some((object, 0x14))
    );
    assert_eq!(fields.server, Some(Field::direct(0xa4).bits(1)));
    assert_eq!(fields.hit, Some(Field::behind(0x30, 0xd4).bits(0x40)));
    assert_eq!((fields.version, fields.rwstate), (None, None));
}

#[test]
fn boringssl_without_a_handshake_object_is_rejected() {
    let mut built = LibraryBuilder::new();
    built.function("SSL_CTX_set_grease_enabled", &[0xc3]);
    built.function("SSL_do_handshake", &[0xc3]);
    // It returns 1 for every connection.
    built.constant("SSL_in_init", 1);
    let error = built.plan().expect_err("no handshake object");
    assert_eq!(error.label(), "field");
    assert!(error.to_string().contains("SSL_in_init"), "{error}");
}

#[test]
fn stripped_boringssl_is_identified_by_its_text() {
    for text in [
        b"a\0BoringSSL\0".as_slice(),
        b"a\0vendor/boringssl/ssl/handshake_server.cc\0",
    ] {
        let mut file = elf_from_code(text);
        file[68] = 4; // PF_R
        let image = image_from_file(&file);
        assert!(boringssl::has_text(&image));
    }
}

#[test]
fn client_random_is_found_behind_a_pointer() {
    // SSL_get_client_random of 1.1.1, shortened: mov rax, [rdi+0xa8]; movdqu xmm0, [rax+0xb8];
    // movdqu xmm1, [rax+0xc8]; ret
    let code = [
        0x48, 0x8b, 0x87, 0xa8, 0, 0, 0, 0xf3, 0x0f, 0x6f, 0x80, 0xb8, 0, 0, 0, 0xf3, 0x0f, 0x6f,
        0x88, 0xc8, 0, 0, 0, 0xc3,
    ];
    let mut built = LibraryBuilder::new();
    built.function("SSL_get_client_random", &code);
    let file = built.file();
    let image = image_from_file(&file);
    let isa = machine::isa_for(image.machine).expect("x86-64");
    assert_eq!(
        fields::client_random(isa.as_ref(), &image, &mut Vec::new()),
        Some(Field::behind(0xa8, 0xb8))
    );
}
