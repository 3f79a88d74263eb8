//! Encodes the field layout of a library for the programs.

use reprise_core::plan::{self, Hook, Plan};
use reprise_ebpf::{
    ABSENT,
    handshake::{Field, Layout, SessionFields, family, hook},
};

/// `SSL_X509_LOOKUP` to `SSL_RETRY_VERIFY` (include/openssl/ssl.h.in): the application must act
/// before the handshake continues.
const OPENSSL_WANTS: u32 = 0b1_1111 << 4;
/// The same states in BoringSSL, where `rwstate` holds values of `SSL_get_error`
/// (include/openssl/ssl.h there): 4 `WANT_X509_LOOKUP`, 7 to 9, 11 `PENDING_SESSION` to
/// 20 `HANDSHAKE_HINTS_READY`.
const BORINGSSL_WANTS: u32 = 1 << 4 | 0b111 << 7 | 0x3ff << 11;

/// A [`Layout`] as bytes, for which aya accepts a map of arrays.
pub(super) type LayoutBytes = [u8; size_of::<Layout>()];

/// Index of a library in the map of layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayoutSlot(pub(super) u32);

/// The layout of a planned library.
pub(super) fn layout_bytes(plan: &Plan) -> LayoutBytes {
    let fields = &plan.fields;
    let at = |field: Option<plan::Field>| {
        field.map_or(Field::UNKNOWN, |field| Field {
            through: field.through.map(|pointer| pointer.unwrap_or(ABSENT)),
            offset: field.offset,
            mask: field.mask,
        })
    };
    let family = match (fields.legacy_state, fields.handshake) {
        (Some(_), _) => family::ONE_NUMBER,
        (None, Some(_)) => family::HANDSHAKE_OBJECT,
        (None, None) => family::STATE_MACHINE,
    };
    let wants = match family {
        family::HANDSHAKE_OBJECT => BORINGSSL_WANTS,
        _ => OPENSSL_WANTS,
    };
    let session = &plan.session;
    zerocopy::transmute!(Layout {
        state: at(fields.state.or(fields.legacy_state).or(fields.step)),
        hand_state: at(fields.hand_state),
        in_init: at(fields.in_init),
        handshake: at(fields.handshake),
        server: at(fields.server),
        version: at(fields.version),
        hit: at(fields.hit),
        rbio: at(fields.rbio),
        wbio: at(fields.wbio),
        rwstate: at(fields.rwstate),
        client_random: at(fields.client_random),
        session: at(session.pointer),
        shutdown: at(fields.shutdown),
        session_fields: SessionFields {
            time: session.time.unwrap_or(ABSENT),
            timeout: session.timeout.unwrap_or(ABSENT),
            id: session.id.unwrap_or(ABSENT),
            id_length: session.id_length.unwrap_or(ABSENT),
        },
        bio_flags: fields.bio_flags.unwrap_or(ABSENT),
        family,
        wants,
        hook: hook_flags(plan),
    })
}

fn hook_flags(plan: &Plan) -> u32 {
    let role = if plan.role_in_argument {
        hook::ROLE_IN_ARGUMENT
    } else {
        0
    };
    let exits = match plan.hook {
        Hook::DoHandshake => hook::RETURNS,
        Hook::StateMachine | Hook::MethodTable => 0,
    };
    let lookups = match plan.session.rejections.first() {
        Some(_) => hook::LOOKUPS,
        None => 0,
    };
    role | exits | lookups
}
