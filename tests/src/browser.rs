//! A headless browser, controlled over Chromium's DevTools protocol through a pair of pipes.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::poll::{DEADLINE, poll_until};
use crate::process::Process;

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    connection: RefCell<Connection>,
    _process: Process,
    _directory: TempDir,
}

#[derive(Debug)]
struct Connection {
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    next: u64,
    /// Errors and warnings of the page.
    errors: Vec<String>,
    /// Addresses that it requested.
    requests: Vec<String>,
}

impl Browser {
    /// Starts Chromium with an empty page.
    ///
    /// # Panics
    /// If it does not start or does not answer.
    #[must_use]
    pub fn start() -> Self {
        let directory = TempDir::new().expect("failed to create a directory for the browser");
        let at = |name: &str| directory.path().join(name);
        for name in ["to", "from"] {
            mkfifo(&at(name), Mode::S_IRWXU).expect("failed to create a pipe");
        }
        // The protocol uses descriptors 3 and 4. Chromium's sandbox does not work as root.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --disable-background-networking --disable-component-update --user-data-dir=\"$1/profile\" \
                      --remote-debugging-pipe about:blank 3<\"$1/to\" 4>\"$1/from\"";
        let process = Process::spawn(
            Command::new("sh")
                .args(["-c", script, "sh"])
                .arg(directory.path())
                .env("HOME", directory.path()),
        );
        // In the order in which the shell opens them: each open blocks until the other end is open.
        let to = File::options()
            .write(true)
            .open(at("to"))
            .expect("failed to open the pipe to the browser");
        let from = File::open(at("from")).expect("failed to open the pipe from the browser");
        let browser = Self {
            connection: RefCell::new(Connection {
                to,
                from: BufReader::new(from),
                session: None,
                next: 0,
                errors: Vec::new(),
                requests: Vec::new(),
            }),
            _process: process,
            _directory: directory,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({ "targetId": target["targetId"], "flatten": true }),
        );
        let session = attached["sessionId"].as_str().map(str::to_owned);
        browser.connection.borrow_mut().session = session;
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Sends one command of the protocol and returns its result.
    ///
    /// # Panics
    /// If the browser rejects it or has ended.
    pub fn call(&self, method: &str, params: &Value) -> Value {
        let mut connection = self.connection.borrow_mut();
        connection.next += 1;
        let id = connection.next;
        let mut words = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &connection.session {
            words["sessionId"] = json!(session);
        }
        connection
            .to
            .write_all(format!("{words}\0").as_bytes())
            .expect("failed to write to the browser");
        loop {
            let mut line = Vec::new();
            connection
                .from
                .read_until(0, &mut line)
                .expect("failed to read from the browser");
            line.pop();
            let message: Value = serde_json::from_slice(&line)
                .unwrap_or_else(|error| panic!("the browser ended in {method}: {error}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            connection.handle_event(&message);
        }
    }

    /// Opens an address and waits until the page is loaded.
    ///
    /// # Panics
    /// If it is not loaded in time.
    pub fn open(&self, address: &str) {
        self.call("Page.navigate", &json!({ "url": address }));
        let there = format!("location.href === '{address}' && document.readyState === 'complete'");
        self.wait(&there, "location.href");
    }

    /// Returns the value of an expression in the page.
    ///
    /// # Panics
    /// If it throws.
    #[must_use]
    pub fn evaluate(&self, expression: &str) -> Value {
        let words =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", &words);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// Waits until the expression is `true`.
    ///
    /// # Panics
    /// If it is not `true` in time; the message contains the value of `shown`.
    pub fn wait(&self, expression: &str, shown: &str) {
        poll_until(expression, DEADLINE, || match self.evaluate(expression) {
            Value::Bool(true) => Ok(()),
            other => Err(format!("{other}; {shown}: {}", self.evaluate(shown))),
        });
    }

    /// Presses and releases a key.
    pub fn press(&self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut words =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                words["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", &words);
        }
    }

    /// Sets width and height of the window; `phone` emulates a mobile device.
    pub fn size(&self, width: u32, height: u32, phone: bool) {
        let words =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.call("Emulation.setDeviceMetricsOverride", &words);
    }

    /// Sets the preferred colour scheme: `light` or `dark`.
    pub fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
    }

    /// Returns a screenshot, PNG in base64.
    ///
    /// # Panics
    /// If the browser returns none.
    #[must_use]
    pub fn picture(&self) -> String {
        let result = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        result["data"].as_str().expect("no picture").to_owned()
    }

    /// Returns exceptions, console errors and failed requests of the page so far.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.connection.borrow().errors.clone()
    }

    /// Returns every address that the page has requested.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.connection.borrow().requests.clone()
    }
}

impl Connection {
    fn handle_event(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.errors.push(params.to_string()),
            "Runtime.consoleAPICalled"
                if params["type"] == "error" || params["type"] == "warning" =>
            {
                self.errors.push(params["args"].to_string());
            }
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                self.errors.push(params["entry"].to_string());
            }
            "Network.requestWillBeSent" => {
                let address = params["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(address.to_owned());
            }
            _ => {}
        }
    }
}

/// Writes a screenshot to the file that the environment variable names, if it is set. The pictures
/// in the README are created this way.
///
/// # Panics
/// If it cannot be written.
pub fn save_screenshot(browser: &Browser, variable: &str) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let mut base64 = Command::new("base64");
    let input = TempDir::new().expect("failed to create a directory");
    let file = input.path().join("picture");
    fs::write(&file, browser.picture()).expect("failed to write a picture");
    let picture = base64
        .arg("--decode")
        .arg(&file)
        .output()
        .expect("failed to start base64");
    fs::write(path, picture.stdout).expect("failed to write a picture");
}
