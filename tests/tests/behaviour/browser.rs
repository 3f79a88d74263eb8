//! The page at `/` in a real browser: live and correct, without foreign requests or console errors,
//! in both colour schemes, by keyboard, and on a phone.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::Duration;

use reprise_tests::browser::{Browser, save_screenshot};
use reprise_tests::client::{SOURCES, misbehave};
use reprise_tests::fleet::Fleet;
use reprise_tests::returning::{Returning, Returns};
use reprise_tests::servers::{Sessions, Tuning};
use reprise_tests::{Agent, Client, Server};
use tempfile::TempDir;

const NO_ARGUMENTS: [&str; 0] = [];

/// Returns the cells of all rows.
const ROWS: &str = "[...document.querySelectorAll('#rows tr')].map(r => [...r.cells].map(c => c.textContent).join('|')).join('\\n')";

#[test]
fn the_page_is_live_and_accessible() {
    let server = Server::haproxy(Sessions::Ids);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let browser = Browser::start();
    browser.size(1000, 900, false);
    let origin = format!("http://{}/", agent.address);
    browser.open(&origin);
    browser.wait(
        "document.getElementById('state').textContent.startsWith('observing')",
        "document.body.innerText",
    );
    // Later handshakes appear without a reload.
    let report = Client::new(server.port).connections(60).run();
    misbehave("reset-half-hello", server.port, 3);
    let (full, resumed) = (
        report.total(|row| row.full),
        report.total(|row| row.resumed),
    );
    assert!(full > 0 && resumed > 0, "{report:?}");
    for (source, row) in &report.rows {
        let cells = format!(
            "(r => r && r.cells[2].textContent === '{}' && r.cells[3].textContent === '{}')",
            row.full, row.resumed
        );
        browser.wait(
            &format!("{cells}([...document.querySelectorAll('#rows tr')].find(r => r.cells[0].textContent === '{source}')) === true"),
            ROWS,
        );
    }
    browser.wait(
        &format!("(r => r && r.cells[0].textContent.endsWith(', port {}') && r.cells[2].textContent === '{full}' && r.cells[3].textContent === '{resumed}')(document.querySelector('#service-rows tr')) === true", server.port),
        "document.getElementById('services').innerText",
    );
    browser.wait(
        "document.querySelector('#failures dt').textContent === 'reset'",
        "document.getElementById('failures').innerText",
    );
    browser.wait(
        "document.querySelectorAll('#recent li').length === 3 && document.querySelector('#recent').textContent.includes('reset')",
        "document.getElementById('recent').innerText",
    );
    let share = format!(
        "{} %",
        (f64::from(resumed) * 100.0 / f64::from(full + resumed)).round()
    );
    browser.wait(
        &format!("document.querySelector('#numbers b').textContent === '{share}'"),
        "document.getElementById('numbers').innerText",
    );
    browser.wait("document.querySelectorAll('#chart .bar').length > 0 && document.querySelector('#chart .share').getAttribute('d').length > 4", "document.getElementById('chart').outerHTML");
    browser.wait(
        "document.getElementById('coverage').textContent.includes('processes observed')",
        "document.getElementById('coverage').textContent",
    );
    save_screenshot(&browser, "REPRISE_PICTURE");
    // The page requests nothing from other hosts.
    let foreign: BTreeSet<_> = browser
        .requests()
        .into_iter()
        .filter(|address| !address.starts_with(&origin) && !address.starts_with("data:"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(browser.requests().len() > 4, "{:?}", browser.requests());
    assert_eq!(browser.errors(), Vec::<String>::new());

    by_keyboard(&browser);
    in_both_schemes(&browser);
    // On a phone nothing is wider than the screen.
    browser.size(360, 740, true);
    browser.wait(
        "document.documentElement.scrollWidth <= 360 && innerWidth === 360",
        "document.documentElement.scrollWidth",
    );
    assert_eq!(browser.errors(), Vec::<String>::new());
    // In the other role the service is the only peer.
    let _ = browser.evaluate("document.querySelector('input[value=client]').click()");
    browser.wait(
        &format!(
            "document.querySelector('#rows td').textContent === '{}'",
            server.peer()
        ),
        ROWS,
    );
    // The page reports that the agent has ended and continues to show the last numbers.
    let _ = agent.terminate();
    browser.wait(
        "document.getElementById('state').className === 'bad'",
        "document.getElementById('state').textContent",
    );
    browser.wait("document.querySelectorAll('#rows tr').length > 0", ROWS);
}

#[test]
fn a_peer_with_misses_shows_their_rule_and_facts() {
    let tuning = Tuning {
        lifetime: 1,
        ..Tuning::default()
    };
    let server = Server::haproxy_tuned(Sessions::Ids, &tuning);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let mut fleet = Fleet::start(3);
    fleet.connect(server.port, "");
    // The lifetime of the sessions ends.
    sleep(Duration::from_secs(3));
    fleet.miss(server.port, "");
    let browser = Browser::start();
    browser.size(1000, 900, false);
    browser.open(&format!("http://{}/", agent.address));
    browser.wait(
        "document.querySelector('#rows button')?.textContent === '127.0.0.1'",
        ROWS,
    );
    let _ = browser.evaluate("document.querySelector('#rows button').click()");
    browser.wait(
        "/expired.*session_id.*rule .*expired.*lifetime 1.000 s/.test(document.querySelector('#rows .explained')?.textContent)",
        ROWS,
    );
    let _ = browser.evaluate("document.querySelector('#rows button').click()");
    browser.wait("document.querySelector('#rows .explained') === null", ROWS);
    assert_eq!(browser.errors(), Vec::<String>::new());
}

/// Every control can be reached with Tab and used with Enter and text input.
fn by_keyboard(browser: &Browser) {
    let _ = browser.evaluate("document.activeElement.blur()");
    let mut reached = Vec::new();
    for _ in 0..24 {
        browser.press("Tab", 9, "");
        let at = browser.evaluate("(e => e.id || e.dataset.sort || e.value || e.className || e.tagName)(document.activeElement)");
        let at = at.as_str().unwrap_or_default().to_owned();
        if at == "full" {
            browser.press("Enter", 13, "\r");
            browser.wait(
                "document.activeElement.closest('th').getAttribute('aria-sort') === 'descending'",
                "document.activeElement.outerHTML",
            );
            browser.press("Enter", 13, "\r");
            browser.wait(
                "document.activeElement.closest('th').getAttribute('aria-sort') === 'ascending'",
                "document.activeElement.outerHTML",
            );
        }
        if at == "filter" {
            browser.call(
                "Input.insertText",
                &serde_json::json!({ "text": SOURCES[0] }),
            );
            browser.wait("document.querySelectorAll('#rows tr').length === 1", ROWS);
            let _ = browser.evaluate("(f => { f.value = ''; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))");
        }
        reached.push(at);
    }
    for wanted in [
        "skip", "server", "pause", "filter", "peer", "ratio", "full", "resumed", "failed",
        "service", "SUMMARY",
    ] {
        assert!(
            reached.iter().any(|at| at == wanted),
            "{wanted} is not reached: {reached:?}"
        );
    }
}

/// Asserts a text contrast of at least 4.5 to 1, as WCAG 2.1 requires.
fn in_both_schemes(browser: &Browser) {
    let contrast = "(() => {
        const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const back = light(getComputedStyle(document.body).backgroundColor);
        return Math.min(...['body', '#state', '.remedy', '#rows .number', 'footer a', '#numbers b', '#numbers span'].map(s => {
            const fore = light(getComputedStyle(document.querySelector(s)).color);
            return (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05); }));
    })()";
    let mut backs = BTreeSet::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        let contrast = browser.evaluate(contrast).as_f64().expect("no number");
        assert!(contrast >= 4.5, "{scheme}: {contrast}");
        backs.insert(
            browser
                .evaluate("getComputedStyle(document.body).backgroundColor")
                .to_string(),
        );
    }
    assert_eq!(backs.len(), 2, "{backs:?}");
}

#[test]
fn the_curve_of_a_session_cache_is_drawn() {
    // A program whose name would be markup.
    let directory = TempDir::new().expect("failed to create a directory");
    let program = directory.path().join("<b>haproxy");
    symlink("/usr/sbin/haproxy", &program).expect("failed to link the program");
    let script = format!("shift; exec '{}' \"$@\"", program.display());
    let tuning = Tuning {
        cache: 300,
        lifetime: 3,
        under: &["sh", "-c", &script, "sh"],
        ..Tuning::default()
    };
    let server = Server::haproxy_tuned(Sessions::Ids, &tuning);
    let agent = Agent::start(NO_ARGUMENTS);
    agent.wait_libraries(1);
    let clients = Returning {
        clients: 300,
        connections: 1_500,
        returns: Returns::Exponential,
        tls13: false,
        mean_s: 2,
        skip_s: 0,
    };
    let _ = clients.run(server.port, 1);
    let browser = Browser::start();
    browser.size(1000, 900, false);
    let origin = format!("http://{}/", agent.address);
    browser.open(&origin);
    let text = "document.getElementById('caches').innerText";
    browser.wait(
        "document.querySelectorAll('#curve path.line').length === 1",
        text,
    );
    browser.wait(
        "document.querySelector('#lifetimes').textContent.includes('lifetime 3 s')",
        text,
    );
    // The present cache.
    browser.wait(
        "document.querySelectorAll('#curve circle.today').length === 1",
        text,
    );
    browser.wait(
        "document.querySelector('#lifetimes .today').textContent.startsWith('today: ')",
        text,
    );
    browser.wait(
        "document.getElementById('advised').textContent.length > 10",
        text,
    );
    browser.wait(
        "document.querySelector('#service option').textContent.includes('<b>haproxy')",
        "document.getElementById('service').outerHTML",
    );
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#caches b').length"),
        0
    );
    let _ = browser.evaluate("document.getElementById('caches').scrollIntoView()");
    save_screenshot(&browser, "REPRISE_PICTURE_CURVE");
    browser.size(360, 740, true);
    browser.wait(
        "document.documentElement.scrollWidth <= 360 && innerWidth === 360",
        "document.documentElement.scrollWidth",
    );
    assert_eq!(browser.errors(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(
        requests
            .iter()
            .all(|address| address.starts_with(&origin) || address.starts_with("data:")),
        "{requests:?}"
    );
}
