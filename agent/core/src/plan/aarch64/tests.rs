//! Decoding, abstract runs and control flow of real and assembled code.

use super::*;
use crate::plan::cfg::Graph;
use crate::plan::exits;
use crate::plan::insn::Stack;
use crate::plan::tests::{CODE, elf_for, image_from_file};
use crate::plan::trace::{Place, Value};

fn file_from_words(words: &[u32]) -> Vec<u8> {
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    elf_for(183, &code)
}

fn insn(word: u32) -> Insn {
    let file = file_from_words(&[word]);
    let image = image_from_file(&file);
    Aarch64.lift(&image, CODE).expect("an instruction")
}

fn call(words: &[u32]) -> Trace {
    let file = file_from_words(words);
    let image = image_from_file(&file);
    Aarch64.interpret(&image, CODE, Call::default())
}

#[test]
fn accessor_of_a_plain_connection_names_its_field() {
    // SSL_session_reused of Debian's 3.5.9.
    let trace = call(&[
        0xd503_245f, // bti c
        0xb400_03e0, // cbz x0, 0x80
        0xb940_0002, // ldr w2, [x0]
        0x3400_01e2, // cbz w2, 0x48
        0x3638_0382, // tbz w2, #0x7, 0x80
        0xd503_233f, // paciasp
        0xa9bf_7bfd, // stp x29, x30, [sp, #-0x10]!
        0x9100_03fd, // mov x29, sp
        0x9400_e721, // bl elsewhere
        0xb400_01e0, // cbz x0, 0x60
        0xa8c1_7bfd, // ldp x29, x30, [sp], #0x10
        0xd503_23bf, // autiasp
        0xb945_0800, // ldr w0, [x0, #0x508]
        0xd280_0001, // mov x1, #0x0
        0xd280_0002, // mov x2, #0x0
        0xd280_0010, // mov x16, #0x0
        0xd280_0011, // mov x17, #0x0
        0xd65f_03c0, // ret
        0xb945_0800, // ldr w0, [x0, #0x508]
        0xd280_0001, // mov x1, #0x0
        0xd280_0002, // mov x2, #0x0
        0xd280_0010, // mov x16, #0x0
        0xd280_0011, // mov x17, #0x0
        0xd65f_03c0, // ret
    ]);
    let place = trace.source(trace.returned.expect("followed to its end"));
    assert_eq!(
        place,
        Some(Place {
            object: 0,
            offset: 0x508
        })
    );
}

#[test]
fn store_of_a_method_slot_keeps_its_provenance() {
    // SSL_set_accept_state of Debian's 3.5.9.
    let trace = call(&[
        0xd503_245f, // bti c
        0xb400_03a0, // cbz x0, 0x78
        0xd503_233f, // paciasp
        0xa9be_7bfd, // stp x29, x30, [sp, #-0x20]!
        0x9100_03fd, // mov x29, sp
        0xb940_0001, // ldr w1, [x0]
        0xf900_0bf3, // str x19, [sp, #0x10]
        0xaa00_03f3, // mov x19, x0
        0x3400_00e1, // cbz w1, 0x3c
        0x3638_0241, // tbz w1, #0x7, 0x6c
        0xf940_0bf3, // ldr x19, [sp, #0x10]
        0x5280_0001, // mov w1, #0x0
        0xa8c2_7bfd, // ldp x29, x30, [sp], #0x20
        0xd503_23bf, // autiasp
        0x1400_dbe4, // b elsewhere
        0x5280_0021, // mov w1, #0x1
        0xb900_7801, // str w1, [x0, #0x78]
        0xb900_841f, // str wzr, [x0, #0x84]
        0x9401_dc8e, // bl elsewhere
        0xf940_0e61, // ldr x1, [x19, #0x18]
        0x9131_6260, // add x0, x19, #0xc58
        0xf940_2021, // ldr x1, [x1, #0x40]
        0xf900_3a61, // str x1, [x19, #0x70]
        0xf940_0bf3, // ldr x19, [sp, #0x10]
        0xa8c2_7bfd, // ldp x29, x30, [sp], #0x20
        0xd503_23bf, // autiasp
        0x1401_7631, // b elsewhere
    ]);
    let store = trace.writes.last().expect("a write");
    assert_eq!((store.place.offset, store.size), (0x70, 8));
    let slot = trace.source(store.value).expect("read from an object");
    let origin = trace.origin(slot.object).map(|place| place.offset);
    assert_eq!((origin, slot.offset), (Some(0x18), 0x40));
    assert!(matches!(
        trace.calls[0][0],
        Value::Pointer(Place { object: 0, .. })
    ));
}

#[test]
fn emulated_and_refused_instructions_match_the_kernel() {
    let emulated = [
        0x1400_0001, // b 0x4
        0x5400_0040, // b.eq 0xc
        0x9400_0000, // bl 0x8
        0xd61f_0000, // br x0
        0xd63f_0000, // blr x0
        0xd65f_03c0, // ret
        0x3400_0040, // cbz w0, 0x20
        0x3500_0040, // cbnz w0, 0x24
        0x3600_0040, // tbz w0, #0x0, 0x28
        0x3700_0040, // tbnz w0, #0x0, 0x2c
        0x1000_0000, // adr x0, 0x28
        0x9000_0000, // adrp x0, page
        0x5800_0000, // ldr x0, 0x30
    ];
    let refused = [
        0xd503_245f, // bti c
        0xd503_233f, // paciasp
        0xd503_23bf, // autiasp
        0xd65f_0bff, // retaa
        0x9c00_0000, // ldr q0, 0x10
        0xc85f_7c20, // ldxr x0, [x1]
        0xd400_0001, // svc #0
        0xd420_0000, // brk #0
    ];
    let stepped = [
        0xd503_201f, // nop
        0xa9be_7bfd, // stp x29, x30, [sp, #-0x20]!
        0x9100_03fd, // mov x29, sp
        0xf940_0e61, // ldr x1, [x19, #0x18]
        0xaa00_03f3, // mov x19, x0
    ];
    let kind = |word| (insn(word).emulated, insn(word).refused);
    for word in emulated {
        assert_eq!(kind(word), (true, false), "{word:#x}");
    }
    for word in refused {
        assert_eq!(kind(word), (false, true), "{word:#x}");
    }
    for word in stepped {
        assert_eq!(kind(word), (false, false), "{word:#x}");
    }
}

#[test]
fn stack_pointer_and_frame_pointer_are_tracked() {
    let cases = [
        (0xa9be_7bfd, Stack::Move(-0x20)), // stp x29, x30, [sp, #-0x20]!
        (0xa8c2_7bfd, Stack::MoveFrameLost(0x20)), // ldp x29, x30, [sp], #0x20
        (0xd140_07ff, Stack::Move(-0x1000)), // sub sp, sp, #1, lsl #12
        (0x9101_43fd, Stack::Frame(0x50)), // add x29, sp, #0x50
        (0x9100_03bf, Stack::Restore(0)),  // mov sp, x29
        (0xcb30_63ff, Stack::Lost),        // sub sp, sp, x16
        (0xf940_0bf3, Stack::Keep),        // ldr x19, [sp, #0x10]
        (0x9400_0000, Stack::Keep),        // bl
    ];
    for (word, stack) in cases {
        assert_eq!(insn(word).stack, stack, "{word:#x}");
    }
    // stp wzr, w1, [x0, #0x44]
    let write = insn(0x2908_841f).writes.expect("a write");
    assert!(write.changes(0x44) && write.changes(0x48) && !write.changes(0x4c));
    assert_eq!(insn(0xf900_0bf3).writes, None); // str x19, [sp, #0x10]
}

#[test]
fn return_is_emulated_and_the_exit() {
    let file = file_from_words(&[
        0xd503_233f, // paciasp
        0xa9be_7bfd, // stp x29, x30, [sp, #-0x20]!
        0x9100_03fd, // mov x29, sp
        0xf900_0bf3, // str x19, [sp, #0x10]
        0xaa00_03f3, // mov x19, x0
        0x9400_0000, // bl 0x14
        0x35ff_ffe0, // cbnz w0, 0x14
        0x5280_0080, // mov w0, #0x4
        0xb900_4a60, // str w0, [x19, #0x48]
        0xf940_0bf3, // ldr x19, [sp, #0x10]
        0xa8c2_7bfd, // ldp x29, x30, [sp], #0x20
        0xd503_23bf, // autiasp
        0xd65f_03c0, // ret
    ]);
    let image = image_from_file(&file);
    let graph = Graph::build(&Aarch64, &image, &[CODE]).expect("decodable");
    let exits = exits::choose(&graph, &[CODE], &[0x48], exits::TailCall::Ends).expect("has exits");
    let points: Vec<_> = exits
        .points
        .iter()
        .map(|point| (point.offset - CODE, point.sp_delta, point.emulated))
        .collect();
    assert_eq!(points, [(0x30, 0, true)]);
}

#[test]
fn return_that_authenticates_cannot_be_the_exit() {
    let file = file_from_words(&[0xa9be_7bfd, 0x9400_0000, 0xa8c2_7bfd, 0xd65f_0bff]); // stp; bl; ldp; retaa
    let image = image_from_file(&file);
    let graph = Graph::build(&Aarch64, &image, &[CODE]).expect("decodable");
    // Only the call itself could be probed there.
    let exits = exits::choose(&graph, &[CODE], &[0x48], exits::TailCall::Ends);
    assert!(exits.is_err_and(|error| error.label() == "no_exit"));
}

/// A switch over three cases; a fourth number follows its table of bytes.
const SWITCH: [u32; 12] = [
    0x7100_081f, // cmp w0, #0x2
    0x5400_0128, // b.hi 0x28
    0x1000_0121, // adr x1, 0x2c
    0x3860_4820, // ldrb w0, [x1, w0, uxtw]
    0x1000_0061, // adr x1, 0x1c
    0x8b20_8820, // add x0, x1, w0, sxtb #2
    0xd61f_0000, // br x0
    0xd503_201f, // nop
    0xd65f_03c0, // ret
    0xd65f_03c0, // ret
    0xd65f_03c0, // ret
    0x4002_0100, // bytes of the table
];

fn cases(words: &[u32], path: &[u64]) -> Option<Vec<u64>> {
    let file = file_from_words(words);
    let image = image_from_file(&file);
    let path: Vec<u64> = path.iter().map(|at| CODE + at).collect();
    let targets = Aarch64.jump_table_targets(&image, &path)?;
    Some(targets.iter().map(|at| at - CODE).collect())
}

#[test]
fn jump_table_is_read_up_to_its_bound() {
    let path = [0, 4, 8, 0xc, 0x10, 0x14, 0x18];
    assert_eq!(cases(&SWITCH, &path), Some(vec![0x1c, 0x20, 0x24]));
    let mut longer = SWITCH;
    longer[0] = 0x7100_0c1f; // cmp w0, #3
    assert_eq!(cases(&longer, &path), None, "an entry points to no code");
    assert_eq!(cases(&SWITCH, &path[2..]), None, "no comparison bounds it");
}

#[test]
fn linkage_stub_names_the_word_it_jumps_through() {
    let file = file_from_words(&[
        0xd503_245f, // bti c
        0xb000_0010, // adrp x16, page
        0xf940_0e11, // ldr x17, [x16, #0x18]
        0x9100_6210, // add x16, x16, #0x18
        0xd61f_0220, // br x17
    ]);
    let image = image_from_file(&file);
    let flow = Aarch64.lift(&image, CODE + 0x10).map(|insn| insn.flow);
    assert_eq!(flow, Some(Flow::JumpIndirect(Some(CODE + 0x1018))));
    // A jump through the same register in other code has no known word.
    assert_eq!(insn(0xd61f_0220).flow, Flow::JumpIndirect(None));
}

#[test]
fn conditional_comparison_needs_its_condition() {
    // The object's first field is 0, so `ne` fails and `ccmp` sets the flags of "equal".
    let trace = call(&[
        0xb940_0000, // ldr w0, [x0]
        0x7100_001f, // cmp w0, #0x0
        0x7a41_1804, // ccmp w0, #0x1, #0x4, ne
        0x1a9f_17e0, // cset w0, eq
        0xd65f_03c0, // ret
    ]);
    assert_eq!(trace.returned, Some(Value::Number(1)));
}

#[test]
fn endless_loop_ends() {
    assert_eq!(call(&[0x1400_0000]).returned, None);
}

#[test]
fn direct_calls_are_found_in_both_directions() {
    let file = file_from_words(&[
        0x9400_0003, // bl 0xc
        0x1400_0002, // b 0xc
        0x9400_0002, // bl 0x10
        0x97ff_fffd, // bl 0
        0xd65f_03c0, // ret
    ]);
    let image = image_from_file(&file);
    let calls = |target: u64| -> Vec<u64> {
        let found =
            Aarch64.direct_calls(&image, CODE..CODE + 0x14, &BTreeSet::from([CODE + target]));
        found.into_iter().map(|at| at - CODE).collect()
    };
    assert_eq!(calls(0xc), [0, 4]);
    assert_eq!(calls(0x10), [8]);
    assert_eq!(calls(0), [0xc]);
}

#[test]
fn first_argument_loaded_from_an_object_is_recognised() {
    for (word, expected) in [
        (0xf944_8e60, FirstArgument::Loaded(0x918)), // ldr x0, [x19, #0x918]
        (0xf940_0be0, FirstArgument::Overwritten),   // ldr x0, [sp, #0x10]
        (0xb949_1a60, FirstArgument::Overwritten),   // ldr w0, [x19, #0x918]
        (0xaa13_03e0, FirstArgument::Overwritten),   // mov x0, x19
        (0xaa13_03e1, FirstArgument::Unchanged),     // mov x1, x19
        (0xb400_0040, FirstArgument::Unchanged),     // cbz x0, 8
    ] {
        let file = file_from_words(&[word]);
        let image = image_from_file(&file);
        assert_eq!(
            Aarch64.first_argument_effect(&image, CODE),
            expected,
            "{word:#x}"
        );
    }
}
