//! Plans of real libraries, and hostile files.
//!
//! Exact numbers are asserted for the build on which they were measured; every other library must
//! satisfy the general properties.

mod generated;
mod library_builder;
pub(super) mod mutation;
mod walk;
mod work;

use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use object::{Object, ObjectSymbol};
use proptest::prelude::*;

use super::*;

/// Address of the code in files of [`elf_from_code`].
pub(super) const CODE: u64 = 0x1000;

/// A minimal x86-64 ELF file with nothing but `code`.
pub(super) fn elf_from_code(code: &[u8]) -> Vec<u8> {
    elf_for(62, code)
}

/// A minimal ELF file for a machine (62 is x86-64, 183 AArch64) with nothing but `code`.
pub(super) fn elf_for(machine: u16, code: &[u8]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, values: &[u64]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    let (header, program) = (64, 56);
    halves(&mut file, &[3, machine]); // ET_DYN
    words(&mut file, &[1]);
    longs(&mut file, &[0, header, 0]); // entry, program headers, section headers
    words(&mut file, &[0]);
    halves(&mut file, &[64, 56, 1, 64, 0, 0]);
    words(&mut file, &[1, 5]); // PT_LOAD, R+X
    let size = code.len() as u64;
    longs(&mut file, &[header + program, CODE, CODE, size, size, 1]);
    file.extend(code);
    file
}

/// The image of a well-formed file, which is leaked.
pub(super) fn image_from_file(file: &[u8]) -> Image<'static> {
    let file: &'static Vec<u8> = Box::leak(Box::new(file.to_vec()));
    let pages: &'static Pages<'static> = Box::leak(Box::new(Pages::new(file)));
    Image::parse(pages, Tables::All).expect("well-formed")
}

/// The system's own libraries, if they are installed.
fn system() -> Option<(Vec<u8>, Vec<u8>)> {
    let directories = [
        "/usr/lib/x86_64-linux-gnu",
        "/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/lib64",
        "/usr/lib",
    ];
    let read = |name: &str| -> Option<Vec<u8>> {
        let path: PathBuf = directories
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.exists())?;
        std::fs::read(path).ok()
    };
    let found = ["so.4", "so.3", "so.1.1"].iter().find_map(|version| {
        let ssl = read(&format!("libssl.{version}"))?;
        Some((ssl, read(&format!("libcrypto.{version}"))?))
    });
    if found.is_none() {
        eprintln!("NOT RUN: no x86-64 libssl with its libcrypto is installed");
    }
    found.filter(|_| cfg!(target_arch = "x86_64"))
}

/// Asserts the general properties of a plan.
fn assert_sound(plan: &Plan, ssl: &[u8], crypto: Option<&[u8]>) {
    let decode = |file: &[u8], point: &ProbePoint| {
        let start = usize::try_from(point.offset).expect("fits");
        let instruction = Decoder::new(64, &file[start..], DecoderOptions::NONE).decode();
        assert!(
            !instruction.is_invalid(),
            "no instruction at {:#x}",
            point.offset
        );
        instruction
    };
    assert!(
        !plan.entries.is_empty() && !plan.exits.is_empty(),
        "{plan:?}"
    );
    for point in &plan.entries {
        decode(ssl, point);
        assert_eq!(point.sp_delta, 0);
    }
    for point in &plan.exits {
        let returns = decode(ssl, point).flow_control() == FlowControl::Return;
        assert!(point.emulated || returns, "{plan:?}");
        assert!(
            point.sp_delta % 8 == 0 && point.sp_delta < 0x1000 && (!returns || point.sp_delta == 0),
            "{plan:?}"
        );
    }
    // BoringSSL packs its numbers differently.
    if plan.fields.handshake.is_none() {
        assert_eq!(
            plan.reasons.get(&193).map(String::as_str),
            Some("no_shared_cipher")
        );
        assert!(plan.reasons.len() > 200, "{} reasons", plan.reasons.len());
        let alert = plan.reasons.get(&1048).map(String::as_str);
        assert_eq!(alert, Some("tlsv1_alert_unknown_ca"));
    }
    let fields = &plan.fields;
    let offset = |field: Option<Field>| field.and_then(Field::in_connection);
    assert_eq!(
        offset(fields.state).map(|state| state + 0x14),
        offset(fields.hand_state)
    );
    assert!(
        offset(fields.in_init) > offset(fields.hand_state),
        "{fields:?}"
    );
    assert_eq!(
        offset(fields.rbio).map(|rbio| rbio + 8),
        offset(fields.wbio)
    );
    assert!(
        fields.hit.is_some() && fields.server.is_some() && fields.version.is_some(),
        "{fields:?}"
    );
    assert!(
        fields.bio_flags.is_some() && fields.rwstate.is_some(),
        "{fields:?}"
    );
    decode(ssl, &plan.free.expect("SSL_free is exported everywhere"));
    let error = plan.error.as_ref().expect("errors are raised somewhere");
    let code = if error.in_crypto { crypto } else { Some(ssl) };
    let kinds = error.points.iter().map(|point| {
        let instruction = decode(code.expect("a file"), point);
        instruction.flow_control() == FlowControl::IndirectBranch
    });
    let stubs = kinds.filter(|stub| *stub).count();
    assert_eq!(
        (stubs, error.in_crypto),
        (crypto.map_or(0, |_| error.points.len()), false),
        "errors are probed at the calls of the crypto library, if there are any: {plan:?}"
    );
}

#[test]
fn system_library_is_planned() {
    let Some((ssl, crypto)) = system() else {
        return;
    };
    let plan = plan(Images {
        ssl: &ssl,
        crypto: Some(&crypto),
    })
    .expect("the system library has a plan");
    assert_sound(&plan, &ssl, Some(&crypto));
    if plan.build_id.as_deref() != Some("c0b9959017cf64b03131964573944fc72958bb2b") {
        eprintln!(
            "NOT RUN: the numbers of Debian 12's 3.0.19 (this is {:?}, {:?})",
            plan.version, plan.build_id
        );
        return;
    }
    assert_eq!(plan.version.as_deref(), Some("3.0.19"));
    assert_eq!(plan.hook, Hook::StateMachine);
    assert_eq!(
        plan.entries,
        [ProbePoint {
            offset: 0x65ee0,
            sp_delta: 0,
            emulated: true
        }]
    );
    // The stack protector's branch, the last one before the epilogue.
    assert_eq!(
        plan.exits,
        [ProbePoint {
            offset: 0x6605d,
            sp_delta: 0xa8,
            emulated: true
        }]
    );
    let evidence = |part| {
        plan.evidence
            .iter()
            .find(|(name, _)| *name == part)
            .map(|(_, text)| text.as_str())
    };
    assert!(
        evidence("method table")
            .is_some_and(|text| text.contains("accept 0x66e10 and connect 0x66e00"))
    );
    let at = |offset| Some(Field::direct(offset));
    let fields = Fields {
        state: at(0x48),
        hand_state: at(0x5c),
        in_init: at(0x64),
        server: at(0x38),
        version: at(0),
        hit: at(0x4d0),
        rbio: at(0x10),
        wbio: at(0x18),
        rwstate: at(0x28),
        client_random: at(0x160),
        bio_flags: Some(0x30),
        shutdown: at(0x44),
        ..Fields::default()
    };
    assert_eq!(plan.fields, fields);
}

#[test]
fn crypto_image_may_be_absent() {
    let Some((ssl, _)) = system() else { return };
    let plan = plan(Images {
        ssl: &ssl,
        crypto: None,
    })
    .expect("the ssl image is enough");
    assert_eq!(plan.fields.bio_flags, None);
    let error = plan.error.expect("this library calls what raises errors");
    assert!(!error.in_crypto && !error.points.is_empty(), "{error:?}");
}

#[test]
fn unusable_crypto_image_costs_no_plan() {
    let Some((ssl, crypto)) = system() else {
        return;
    };
    let damaged = plan(Images {
        ssl: &ssl,
        crypto: Some(&&crypto[..1000]),
    })
    .expect("the ssl image is enough");
    assert!(damaged.error.is_some_and(|error| !error.in_crypto));
    assert!(
        damaged
            .evidence
            .iter()
            .any(|(part, _)| *part == "crypto image")
    );
    let error = plan(Images {
        ssl: &crypto,
        crypto: None,
    })
    .expect_err("libcrypto is no libssl");
    assert_eq!(error.label(), "no_symbol");
}

/// node links OpenSSL statically with all symbols: the names of the hidden functions are
/// independent evidence.
#[test]
fn static_library_agrees_with_its_symbols() {
    let Some(file) = ["/usr/bin/node", "/usr/local/bin/node"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
    else {
        eprintln!("NOT RUN: node is not installed");
        return;
    };
    let elf = object::File::parse(file.as_slice()).expect("node is an ELF file");
    let symbol = |prefix: &str| {
        let found = elf
            .symbols()
            .find(|symbol| symbol.name().is_ok_and(|name| name.starts_with(prefix)));
        found.map(|symbol| symbol.address())
    };
    let (Some(accept), Some(connect), Some(body)) = (
        symbol("ossl_statem_accept"),
        symbol("ossl_statem_connect"),
        symbol("state_machine"),
    ) else {
        eprintln!("NOT RUN: node has no symbols of OpenSSL (linked with the shared library)");
        return;
    };
    let plan = plan(Images {
        ssl: &file,
        crypto: None,
    })
    .expect("node has a plan");
    assert_sound(&plan, &file, None);
    let evidence = |part| {
        plan.evidence
            .iter()
            .find(|(name, _)| *name == part)
            .map(|(_, text)| text.as_str())
    };
    let pair = format!("accept {accept:#x} and connect {connect:#x}");
    assert!(
        evidence("method table").is_some_and(|text| text.contains(&pair)),
        "{plan:?}"
    );
    let jump = format!("both jump to {body:#x}");
    assert!(
        evidence("state machine").is_some_and(|text| text.contains(&jump)),
        "{plan:?}"
    );
}

#[test]
fn other_files_have_their_own_errors() {
    let label = |bytes: &[u8]| {
        plan(Images {
            ssl: &bytes,
            crypto: None,
        })
        .map(|_| ())
        .map_err(|error| error.label())
    };
    assert_eq!(label(b""), Err("not_elf"));
    assert_eq!(label(b"#!/bin/sh\n"), Err("not_elf"));
    assert_eq!(label(&elf_from_code(&[0xc3])), Err("no_symbol"));
    let mut other_machine = elf_from_code(&[0xc3]);
    other_machine[18] = 243; // EM_RISCV
    assert_eq!(label(&other_machine), Err("machine"));
    let error = plan(Images {
        ssl: &other_machine,
        crypto: None,
    })
    .expect_err("no decoder");
    assert!(error.to_string().contains("243"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn random_bytes_are_survived(
        mut bytes in prop::collection::vec(any::<u8>(), 0..4096),
        machine in prop::option::of(prop::sample::select(vec![62, 183])),
    ) {
        if let Some(machine) = machine {
            bytes = elf_for(machine, &bytes);
            let image = image_from_file(&bytes);
            let isa = machine::isa_for(image.machine).expect("known");
            let _ = isa.interpret(&image, CODE, isa::Call::default());
            if let Ok(graph) = cfg::Graph::build(isa.as_ref(), &image, &[CODE]) {
                let _ = exits::choose(&graph, &[CODE], &[0x48], exits::TailCall::Ends);
            }
        }
        let _ = plan(Images { ssl: &bytes, crypto: Some(&bytes) });
    }

    #[test]
    fn truncated_library_is_survived(length in any::<prop::sample::Index>()) {
        if let Some((ssl, _)) = system() {
            let _ = plan(Images { ssl: &&ssl[..length.index(ssl.len())], crypto: None });
        }
    }

    #[test]
    fn damaged_library_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
        near_state_machine: bool,
    ) {
        if let Some((mut ssl, _)) = system() {
            // Half of the cases damage the state machine of Debian 12's library, half headers and
            // symbols.
            let (start, size) = if near_state_machine { (0x65ee0, 0x1000) } else { (0, 0x1f000) };
            let size = size.min(ssl.len().saturating_sub(start));
            for (place, byte) in changes {
                if size > 0 {
                    ssl[start + place.index(size)] = byte;
                }
            }
            let _ = plan(Images { ssl: &ssl, crypto: None });
        }
    }
}
