//! Reports of made-up hosts against golden files.

use super::{
    facts::{Facts, TracepointFact, Trial},
    item::{Item, NAME_WIDTH, Verdict},
    report::Report,
};
use crate::{
    bpf::{
        canary::{
            effect::{Effect, Harm},
            kind::ProbeKind,
        },
        features::{Answer, Features},
        mode_request::{LibraryData, ModeRequest, Transport},
    },
    host::{
        capability::{NamespaceMembership, Rights},
        cgroup::Cgroup,
        lockdown::Lockdown,
        memory_lock::MemoryLock,
    },
    status::{BpfMode, CookieSource, OwnerFields, OwnerLookup, PathSource, Sensor},
};

/// A host that meets every requirement.
fn good() -> Facts {
    Facts {
        release: "6.12.1-made-up".to_owned(),
        machine: "x86_64",
        rights: Some(Rights {
            effective: u64::MAX,
            uid: 0,
        }),
        user_namespace: NamespaceMembership::Host,
        pid_namespace: NamespaceMembership::Host,
        lockdown: Lockdown::None,
        memory_lock: MemoryLock(None),
        paranoid: Some(2),
        features: features(&Answer::Yes),
        requested: ModeRequest::default(),
        mode: BpfMode {
            ring: true,
            cookie_source: CookieSource::PerfEvent,
            log: false,
            namespaces: None,
            scoped: false,
            owners: OwnerFields {
                task_cgroup: 1,
                socket_cgroup: 1,
                ..OwnerFields::UNKNOWN
            },
        },
        uprobe_pmu: true,
        btf: true,
        namespaces: Ok(()),
        statistics: Some(true),
        tracefs: Ok("/sys/kernel/tracing".into()),
        tracepoints: vec![
            TracepointFact {
                sensor: Sensor::Handshake,
                event: "tcp/vital",
                vital: true,
                usable: Ok(()),
            },
            TracepointFact {
                sensor: Sensor::Tcp,
                event: "tcp/optional",
                vital: false,
                usable: Ok(()),
            },
        ],
        cgroup: Cgroup::Mounted("/sys/fs/cgroup".into()),
        map_files: Ok(()),
        trial: Some(Trial {
            canary: ProbeKind::ALL.map(|kind| (kind, Effect::Harmless)).to_vec(),
            sensors: Sensor::ALL.map(|sensor| (sensor, Ok(()))).to_vec(),
            most_verified: Some(("wire_in".to_owned(), 4_321)),
            owner_lookup: OwnerLookup {
                paths: Some(PathSource::Reports),
                has_v1: false,
            },
        }),
    }
}

fn features(all: &Answer) -> Features {
    Features {
        bpf: all.clone(),
        uprobe: all.clone(),
        tracepoint: all.clone(),
        cgroup_skb: all.clone(),
        ring_buffer: all.clone(),
        attach_cookie: all.clone(),
        perf_link: all.clone(),
        probe_read_user: all.clone(),
        socket_storage: all.clone(),
        charged_to_cgroup: all.clone(),
    }
}

/// A host with fewer features: a kernel of 6.11 to 6.13, a small container, no cgroup v2.
fn lesser() -> Facts {
    let mut facts = good();
    facts.machine = "aarch64";
    facts.rights = Some(Rights {
        effective: 1 << 21,
        uid: 0,
    });
    facts.pid_namespace = NamespaceMembership::Other;
    facts.lockdown = Lockdown::Integrity;
    facts.memory_lock = MemoryLock(Some(65_536));
    facts.features.charged_to_cgroup = Answer::No;
    facts.features.perf_link = Answer::No;
    facts.features.ring_buffer = Answer::No;
    facts.features.attach_cookie = Answer::No;
    facts.mode = BpfMode {
        ring: false,
        cookie_source: CookieSource::ProgramCopies,
        log: false,
        namespaces: None,
        scoped: false,
        owners: OwnerFields::UNKNOWN,
    };
    facts.requested.transport = Transport::Perf;
    facts.requested.library_data = LibraryData::Copy;
    facts.features.probe_read_user = Answer::No;
    facts.features.cgroup_skb = Answer::No;
    facts.features.socket_storage = Answer::No;
    facts.namespaces = Err("the programs for kernels before 5.10 do not read them".to_owned());
    (facts.btf, facts.uprobe_pmu, facts.statistics) = (false, false, Some(false));
    facts.tracepoints[1].usable = Err("tracepoint tcp/optional has no field saddr".to_owned());
    facts.cgroup = Cgroup::Missing;
    facts.map_files = Err("Operation not permitted".to_owned());
    let trial = facts.trial.as_mut().unwrap();
    trial.most_verified = None;
    trial.owner_lookup.paths = None;
    trial.canary[2].1 = Effect::Inconclusive("the process did not end in time".to_owned());
    trial.canary[3].1 = Effect::Harmful(Harm::Killed(31));
    trial.sensors[1].1 = Err("usable tracepoint".to_owned());
    facts
}

/// A host that refuses everything.
fn useless() -> Facts {
    let mut facts = good();
    facts.rights = Some(Rights {
        effective: 0,
        uid: 65_534,
    });
    facts.user_namespace = NamespaceMembership::Other;
    facts.lockdown = Lockdown::Confidentiality;
    facts.memory_lock = MemoryLock(Some(8 << 20));
    facts.paranoid = None;
    facts.features = features(&Answer::Refused("Operation not permitted".to_owned()));
    facts.statistics = None;
    facts.tracefs = Err("no tracefs".to_owned());
    for tracepoint in &mut facts.tracepoints {
        tracepoint.usable = Err("entity not found".to_owned());
    }
    facts.cgroup = Cgroup::Mountable;
    facts.trial = None;
    facts
}

fn golden(name: &str, text: &str) {
    let path = format!(
        "{}/src/commands/check/golden/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text, golden,
        "UPDATE_GOLDEN=1 rewrites {name}; then read the difference"
    );
}

#[test]
fn reports_match_the_golden_files() {
    for (name, facts) in [
        ("good", good()),
        ("lesser", lesser()),
        ("useless", useless()),
    ] {
        golden(
            &format!("{name}.txt"),
            &Report::from_facts(&facts).to_string(),
        );
    }
    let mut json = serde_json::to_string_pretty(&Report::from_facts(&lesser())).unwrap();
    json.push('\n');
    golden("lesser.json", &json);
}

fn item<'a>(report: &'a Report, name: &str) -> &'a Item {
    let mut found = report.items.iter().filter(|item| item.name == name);
    let item = found.next().unwrap_or_else(|| panic!("no item {name}"));
    assert!(found.next().is_none(), "{name} is duplicate");
    item
}

#[test]
fn every_host_has_the_same_items_and_unmet_ones_have_a_remedy() {
    let names = |facts: &Facts| -> Vec<String> {
        let items = Report::from_facts(facts).items;
        items.into_iter().map(|item| item.name).collect()
    };
    let all = names(&good());
    assert_eq!((names(&lesser()), names(&useless())), (all.clone(), all));
    for facts in [good(), lesser(), useless()] {
        let report = Report::from_facts(&facts);
        for item in &report.items {
            let unmet = matches!(item.verdict, Verdict::Missing | Verdict::Degraded);
            assert_eq!(item.remedy.is_some(), unmet, "{item:?}");
            assert!(item.name.len() <= NAME_WIDTH, "{item:?}");
        }
    }
}

#[test]
fn one_missing_requirement_is_enough() {
    type Break = fn(&mut Facts);
    let breaks: [(&str, Break); 9] = [
        ("bpf", |facts| facts.features.bpf = Answer::No),
        ("bpf_uprobe", |facts| facts.features.uprobe = Answer::No),
        ("user_namespace", |facts| {
            facts.user_namespace = NamespaceMembership::Other;
        }),
        ("cap_sys_admin", |facts| facts.rights = None),
        ("lockdown", |facts| {
            facts.lockdown = Lockdown::Confidentiality;
        }),
        ("tracefs", |facts| facts.tracefs = Err("none".to_owned())),
        ("tracepoint:tcp/vital", |facts| {
            facts.tracepoints[0].usable = Err("no".to_owned());
        }),
        ("canary:stepped", |facts| {
            facts.trial.as_mut().unwrap().canary[1].1 = Effect::Harmful(Harm::Killed(9));
        }),
        ("sensor:handshake", |facts| {
            facts.trial.as_mut().unwrap().sensors[0].1 = Err("no".to_owned());
        }),
    ];
    assert!(Report::from_facts(&good()).ready && Report::from_facts(&lesser()).ready);
    for (name, damage) in breaks {
        let mut facts = good();
        damage(&mut facts);
        let report = Report::from_facts(&facts);
        assert_eq!(item(&report, name).verdict, Verdict::Missing, "{name}");
        assert!(!report.ready && report.missing() == [name], "{name}");
    }
}

#[test]
fn harmful_return_probes_are_not_a_missing_requirement() {
    let report = Report::from_facts(&lesser());
    let canary = item(&report, "canary:return");
    assert_eq!(canary.verdict, Verdict::NotApplicable);
    assert_eq!(
        canary.found,
        "return probes: harmful: the process was killed by SIGSYS; not used"
    );
}

#[test]
fn cap_net_admin_is_required_only_if_the_wire_sensor_fails() {
    let verdict = |facts: &Facts| item(&Report::from_facts(facts), "cap_net_admin").verdict;
    let mut facts = good();
    assert_eq!(verdict(&facts), Verdict::Ok);
    facts.rights.as_mut().unwrap().effective &= !(1 << 12);
    assert_eq!(verdict(&facts), Verdict::NotApplicable);
    facts.trial.as_mut().unwrap().sensors[2].1 = Err("not permitted".to_owned());
    assert_eq!(verdict(&facts), Verdict::Degraded);
    assert!(Report::from_facts(&facts).ready);
}
