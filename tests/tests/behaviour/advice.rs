//! Advice on session caches: clients with known return intervals meet a cache that is too small,
//! then the one that the advice recommends. Each reaches the hit ratio that was predicted for it.
//! By default one setting per server runs; `REPRISE_ADVICE` selects others, and for some a third
//! cache, which is half as good (CONTRIBUTING.md).

use std::env;

use reprise_tests::Agent;
use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::returning::{Returning, Returns};
use reprise_tests::servers::{CacheSetting, CachingServer};
use serde_json::Value;

const NO_ARGUMENTS: [&str; 0] = [];
/// Maximum difference between a predicted and a reached hit ratio.
const TOLERANCE: f64 = 0.05;
/// The same for the third cache if the prediction is from a sample: there the ratio rises by up to
/// 30 points from one size to the next.
const TOLERANCE_OF_SAMPLE: f64 = 0.1;
/// Minimum share of the offers that the agent counts: others were lost, or their ClientHello was
/// not read.
const COUNTED: f64 = 0.98;

/// One check: the clients, and the first cache.
struct Check {
    clients: Returning,
    small: u64,
    lifetime_s: u32,
    /// Whether a cache that is half as good is to reach its hit ratio, too. Clients that return
    /// after a constant interval find all sessions or none, and the parts of Apache's cache are
    /// not equally full.
    middle: bool,
}

impl Check {
    /// Clients with five connections at this mean interval; a session lifetime of two and a half
    /// intervals, since servers count lifetimes in whole seconds and clients with a constant
    /// interval would otherwise return exactly at the end of it; a cache for a third of the
    /// clients.
    const fn new(returns: Returns, clients: u32, mean_s: u32, tls13: bool) -> Self {
        let lifetime_s = mean_s * 5 / 2;
        Self {
            clients: Returning {
                clients,
                connections: clients * 5,
                returns,
                tls13,
                mean_s,
                // When the simulation of this lifetime begins to count, and a second later.
                skip_s: lifetime_s + 1,
            },
            small: clients as u64 / 3,
            lifetime_s,
            middle: false,
        }
    }

    /// Name of the check of a server.
    fn name(&self, server: CachingServer) -> String {
        let Returning {
            clients,
            returns,
            tls13,
            ..
        } = self.clients;
        let version = if tls13 { "1.3" } else { "1.2" };
        let server = server.name();
        format!("{server}, TLS {version}, {clients} clients, {returns:?}")
    }

    /// The same check with twice as many connections: caches that begin empty and clients that
    /// begin together take some lifetimes to reach their final hit ratio.
    const fn twice_as_long(mut self) -> Self {
        self.clients.connections *= 2;
        self
    }

    const fn with_middle(self) -> Self {
        Self {
            middle: true,
            ..self
        }
    }
}

/// The result of one cache.
struct Reached {
    what: String,
    predicted: f64,
    reached: f64,
    tolerance: f64,
}

/// Environment variable that selects the checks whose name contains its value, or one of several
/// values separated by `|`; `all` selects all. Without it the first of each server runs.
const FILTER: &str = "REPRISE_ADVICE";

/// Advice for the service at this port, after this number of offers.
fn advice(agent: &Agent, port: u16, offered: u32) -> Value {
    let get = |path: &str| -> Value {
        let answer = agent.get(path).expect("no response");
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_str(&answer.body).expect("no JSON")
    };
    poll_until("advice", DEADLINE, || {
        let list = get("/api/v1/services");
        let services = list["services"].as_array().expect("no services");
        let service = services
            .iter()
            .find(|service| service["port"] == port)
            .ok_or_else(|| "no such service".to_owned())?;
        let advice = get(&format!("/api/v1/services/{}/advice", service["id"]));
        let count = |name: &str| advice["measured"][name].as_u64().unwrap_or(0);
        let counted = count("accepted") + count("missed");
        if counted as f64 >= f64::from(offered) * COUNTED {
            Ok(advice)
        } else {
            Err(format!("{counted} of {offered} offers"))
        }
    })
}

fn ratio(value: &Value) -> f64 {
    value["hit_ratio"].as_f64().expect("no hit ratio")
}

/// The point of the curve whose hit ratio is nearest to half of what the advice brings.
fn middle(advice: &Value, today: f64) -> &Value {
    let recommended = &advice["recommended"];
    let half = f64::midpoint(ratio(recommended), today);
    let distance = |point: &&Value| (ratio(point) - half).abs();
    let curve = advice["curve"].as_array().expect("no curve");
    curve
        .iter()
        .filter(|point| point["lifetime_seconds"] == recommended["lifetime_seconds"])
        .min_by(|one, other| distance(one).total_cmp(&distance(other)))
        .expect("no point")
}

/// The setting that the advice gives for a server.
fn setting(server: CachingServer, advice: &Value) -> CacheSetting {
    let settings = advice["settings"].as_array().expect("no settings");
    let setting = settings
        .iter()
        .find(|setting| setting["server"] == server.name())
        .expect("no setting");
    server.parse(setting["setting"].as_str().expect("no text"))
}

fn run(server: CachingServer, check: &Check) -> Vec<Reached> {
    let Check { clients, .. } = check;
    let small = server.setting_for(check.small, check.lifetime_s);
    let small = server.start(small, clients.tls13);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let today = clients.run_in_time(small.port, 1);
    let advice = advice(&agent, small.port, today.all.offered);
    drop((agent, small));
    let measured = &advice["measured"];
    println!("{}: {} {measured}", server.name(), advice["obstacle"]);
    assert!((ratio(measured) - today.all.hit_ratio()).abs() < 0.02);
    let today = today.later.hit_ratio();
    assert_eq!(advice["verdict"], "change");
    let recommended = &advice["recommended"];
    let size = |point: &Value| point["size"].as_u64().expect("no size");
    let lifetime_s = recommended["lifetime_seconds"].as_u64().expect("none");
    let lifetime_s = u32::try_from(lifetime_s).expect("a lifetime");
    let advised = setting(server, &advice);
    assert_eq!(advised.lifetime_s, lifetime_s);
    let mut caches = vec![("advised", recommended, advised, TOLERANCE)];
    if check.middle {
        let middle = middle(&advice, today);
        let setting = server.setting_for(size(middle), lifetime_s);
        let is_sample = advice["sampled"] == true;
        let tolerance = if is_sample {
            TOLERANCE_OF_SAMPLE
        } else {
            TOLERANCE
        };
        caches.push(("middle", middle, setting, tolerance));
    }
    // The simulation of a lifetime begins to count when it has passed.
    let returning = Returning {
        skip_s: lifetime_s + 1,
        ..*clients
    };
    let mut reached = Vec::new();
    if let Some(predicted) = measured["predicted_hit_ratio"].as_f64() {
        reached.push(Reached {
            what: format!(
                "present cache of {} for {} s",
                check.small, check.lifetime_s
            ),
            predicted,
            reached: today,
            tolerance: TOLERANCE,
        });
    }
    for (what, point, setting, tolerance) in caches {
        let server = server.start(setting, clients.tls13);
        reached.push(Reached {
            what: format!("{what} cache of {} for {lifetime_s} s", size(point)),
            predicted: ratio(point),
            reached: returning.run_in_time(server.port, 2).later.hit_ratio(),
            tolerance,
        });
    }
    assert!(ratio(recommended) > today + 0.15);
    reached
}

/// The selected checks, with their names.
fn selected(server: CachingServer, checks: &[Check]) -> Vec<(String, &Check)> {
    let wanted = env::var(FILTER).ok();
    let named = checks.iter().map(|check| (check.name(server), check));
    match wanted.as_deref() {
        None => named.take(1).collect(),
        Some("all") => named.collect(),
        Some(wanted) => named
            .filter(|(name, _)| wanted.split('|').any(|part| name.contains(part)))
            .collect(),
    }
}

/// Runs the selected checks.
fn advice_holds(server: CachingServer, checks: &[Check]) {
    let mut wrong = Vec::new();
    for (name, check) in selected(server, checks) {
        for reached in run(server, check) {
            let Reached {
                what,
                predicted,
                reached,
                tolerance,
            } = reached;
            let line = format!("{name}, {what}: predicted {predicted:.3}, reached {reached:.3}");
            println!("{line}");
            if (predicted - reached).abs() > tolerance {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One check that runs by default, and those that `REPRISE_ADVICE` adds.
fn checks(more: Vec<Check>) -> Vec<Check> {
    let mut checks = vec![Check::new(Returns::Mixed, 600, 6, false)];
    checks.extend(more);
    checks
}

#[test]
fn advice_for_haproxy_holds() {
    let short_lifetime = Check {
        clients: Returning {
            connections: 4_000,
            skip_s: 61,
            ..Check::new(Returns::Exponential, 1_000, 30, false).clients
        },
        small: 5_000,
        lifetime_s: 10,
        middle: false,
    };
    let large = Check {
        clients: Returning {
            connections: 36_000,
            skip_s: 61,
            ..Check::new(Returns::Exponential, 20_000, 180, false).clients
        },
        small: 3_000,
        lifetime_s: 60,
        middle: false,
    };
    let checks = checks(vec![
        Check::new(Returns::Constant, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::Exponential, 2_000, 18, false)
            .twice_as_long()
            .with_middle(),
        Check::new(Returns::HeavyTailed, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::Mixed, 2_000, 18, true).twice_as_long(),
        short_lifetime,
        large,
    ]);
    advice_holds(CachingServer::HaProxy, &checks);
}

#[test]
fn advice_for_nginx_holds() {
    let checks = checks(vec![
        Check::new(Returns::Constant, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::Exponential, 2_000, 18, false)
            .twice_as_long()
            .with_middle(),
        Check::new(Returns::HeavyTailed, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::Mixed, 2_000, 18, true).twice_as_long(),
    ]);
    advice_holds(CachingServer::Nginx, &checks);
}

#[test]
fn advice_for_apache_holds() {
    let checks = checks(vec![
        Check::new(Returns::Constant, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::Exponential, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::HeavyTailed, 2_000, 18, false).twice_as_long(),
        Check::new(Returns::Mixed, 2_000, 18, true).twice_as_long(),
    ]);
    advice_holds(CachingServer::Apache, &checks);
}
