//! Listening sockets from their records.

use reprise_ebpf::listener::{ListenerEvent, WINDOW_NS};

use crate::{
    model::{ListenerChange, ListenerOwner},
    pipeline::{listener::OwnerEvent, socket::end},
};

pub(super) fn change(record: &ListenerEvent) -> ListenerChange {
    let time_ns = record.header.time_ns;
    ListenerChange {
        time_ns,
        end: end(&record.key),
        until_ns: match record.limited {
            0 => time_ns,
            _ => time_ns.saturating_add(WINDOW_NS),
        },
    }
}

pub(super) fn owner(record: &OwnerEvent) -> ListenerOwner {
    ListenerOwner {
        end: end(&record.key),
        from_ns: record.from_ns,
        tgid: (record.tgid != 0).then_some(record.tgid),
    }
}
