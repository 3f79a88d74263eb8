//! Advice on session caches: clients with a known mix of return intervals meet a cache that is too
//! small, then the ones for which the advice predicts a hit ratio, and reach it.

use reprise_tests::poll::{DEADLINE, poll_until};
use reprise_tests::returning::{Returned, Returning};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::{Agent, Server};
use serde_json::Value;

const NO_ARGUMENTS: [&str; 0] = [];
/// Greatest difference between a predicted and a reached hit ratio.
const TOLERANCE: f64 = 0.05;
const CLIENTS: Returning = Returning {
    clients: 2_000,
    connections: 7_000,
};

/// Share of the offers that the agent counts at least: others were lost or belong to handshakes
/// whose ClientHello was not read.
const COUNTED: f64 = 0.98;

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

fn assert_close(what: &str, predicted: f64, reached: f64) {
    println!("{what}: predicted {predicted:.3}, reached {reached:.3}");
    assert!(
        (predicted - reached).abs() <= TOLERANCE,
        "{what}: predicted {predicted:.3}, reached {reached:.3}"
    );
}

/// Runs the clients against a server with a small cache, then with those of two predictions:
/// the advised one, and one half as good. `start` starts the server with a cache of so many
/// sessions, by the setting of the advice for another size.
fn advice_holds(name: &str, small: Server, start: impl Fn(u64, &Value, u64) -> Server) {
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let today = CLIENTS.run(small.port, 1);
    let advice = advice(&agent, small.port, today.offered);
    drop((agent, small));
    let measured = &advice["measured"];
    println!("{name}: {measured}");
    assert!((ratio(measured) - today.hit_ratio()).abs() < 0.01);
    let predicted = measured["predicted_hit_ratio"].as_f64();
    assert_close(
        "present cache",
        predicted.expect("no prediction"),
        today.hit_ratio(),
    );
    let recommended = &advice["recommended"];
    let size = |point: &Value| point["size"].as_u64().expect("no size");
    let settings = advice["settings"].as_array().expect("no settings");
    let setting = settings
        .iter()
        .find(|setting| setting["server"] == name)
        .expect("no setting");
    let curve = advice["curve"].as_array().expect("no curve");
    let half = f64::midpoint(ratio(recommended), today.hit_ratio());
    let distance = |point: &&Value| (ratio(point) - half).abs();
    let middle = curve
        .iter()
        .filter(|point| point["lifetime_seconds"] == recommended["lifetime_seconds"])
        .min_by(|one, other| distance(one).total_cmp(&distance(other)))
        .expect("no point");
    for (what, point) in [("middle", middle), ("advised", recommended)] {
        let server = start(size(point), &setting["setting"], size(recommended));
        let reached: Returned = CLIENTS.run(server.port, 2);
        let what = format!("{name}, {what} cache of {}", size(point));
        assert_close(&what, ratio(point), reached.hit_ratio());
    }
    assert!(ratio(recommended) > today.hit_ratio() + 0.2);
}

/// The number that follows a word in a setting.
fn number(setting: &Value, word: &str) -> u32 {
    let text = setting.as_str().expect("no text");
    let mut words = text.split_whitespace();
    words
        .find(|found| *found == word)
        .and_then(|_| words.next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {word} in {text}"))
}

#[test]
fn advice_for_haproxy_holds() {
    let tuned = |cache, lifetime| {
        let tuning = Tuning {
            cache,
            lifetime,
            ..Tuning::default()
        };
        Server::haproxy_tuned(Sessions::Ids, &tuning)
    };
    advice_holds("HAProxy", tuned(500, 300), |size, setting, whole| {
        let blocks = u64::from(number(setting, "tune.ssl.cachesize")) * size / whole;
        let lifetime = number(setting, "tune.ssl.lifetime");
        tuned(u32::try_from(blocks).expect("a size"), lifetime)
    });
}

#[test]
fn advice_for_nginx_holds() {
    let small = "ssl_session_cache shared:tls:160k; ssl_session_timeout 5m;";
    let small = Server::nginx_caching(small);
    advice_holds("nginx", small, |size, setting, whole| {
        let text = setting.as_str().expect("no text");
        let (_, rest) = text.split_once("shared:tls:").expect("no cache");
        let (kilobytes, timeout) = rest.split_once("k;").expect("no size");
        let kilobytes: u64 = kilobytes.parse().expect("no number");
        // Eight kilobytes are for the zone itself.
        let kilobytes = 8 + (kilobytes - 8) * size / whole;
        let cache = format!("ssl_session_cache shared:tls:{kilobytes}k;{timeout}");
        Server::nginx_caching(&cache)
    });
}
