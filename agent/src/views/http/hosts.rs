//! The `Host` header. A web page on another server can make a browser send requests to this one
//! by a name of its own that it resolves to this host (DNS rebinding), and read the responses. Such
//! requests carry the name of that server.

use std::net::{IpAddr, SocketAddr};

use hyper::{Request, header::HOST, http::uri::Authority};

/// Hosts by which clients may address the server.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    listens_on_loopback: bool,
    names: Vec<String>,
}

impl AllowedHosts {
    /// The hosts of a server that listens at `address`, and `names`. On a loopback address these
    /// are the loopback names and addresses; on any other address, all hosts unless there are
    /// names.
    #[must_use]
    pub const fn new(address: SocketAddr, names: Vec<String>) -> Self {
        Self {
            listens_on_loopback: address.ip().is_loopback(),
            names,
        }
    }

    /// Whether a request is for an allowed host. One without a host does not come from a browser.
    pub(super) fn permit<B>(&self, request: &Request<B>) -> bool {
        if !self.listens_on_loopback && self.names.is_empty() {
            return true;
        }
        let named = request.headers().get_all(HOST).iter();
        let mut named = named.map(|host| host.as_bytes());
        let target = request.uri().host();
        named.all(|host| self.permits_header(host)) && target.is_none_or(|host| self.permits(host))
    }

    fn permits_header(&self, host: &[u8]) -> bool {
        // The header of an empty host has no value (RFC 9112, 3.2); no browser sends it.
        host.is_empty()
            || Authority::try_from(host).is_ok_and(|authority| self.permits(authority.host()))
    }

    fn permits(&self, host: &str) -> bool {
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(host).parse::<IpAddr>() {
            // An address cannot be rebound.
            return address.to_canonical().is_loopback() || !self.listens_on_loopback;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let allowed = |name: &String| name.eq_ignore_ascii_case(host);
        host.eq_ignore_ascii_case("localhost") || self.names.iter().any(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(hosts: &AllowedHosts, host: &str) -> bool {
        hosts.permit(&Request::builder().header(HOST, host).body(()).unwrap())
    }

    fn hosts(address: &str, names: &[&str]) -> AllowedHosts {
        let names = names.iter().map(|name| (*name).to_owned());
        AllowedHosts::new(address.parse().unwrap(), names.collect())
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_and_addresses() {
        let hosts = hosts("127.0.0.1:9797", &["agent.example"]);
        for host in [
            "localhost",
            "LOCALHOST:9797",
            "localhost.:1",
            "127.0.0.1:9797",
            "127.9.9.9",
            "[::1]:9797",
            "[::ffff:127.0.0.1]",
            "Agent.example:443",
            "",
        ] {
            assert!(permit(&hosts, host), "{host}");
        }
        for host in [
            "attacker.example",
            "attacker.example:9797",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "attacker.example@localhost.example",
            "192.0.2.1:9797",
            "[2001:db8::1]:9797",
            "0.0.0.0",
            "local host",
        ] {
            assert!(!permit(&hosts, host), "{host}");
        }
        assert!(hosts.permit(&Request::new(())), "no browser");
        let target = Request::builder().uri("http://attacker.example/metrics");
        assert!(!hosts.permit(&target.body(()).unwrap()), "absolute form");
        let twice = Request::builder().header(HOST, "localhost");
        let twice = twice.header(HOST, "attacker.example");
        assert!(!hosts.permit(&twice.body(()).unwrap()), "two headers");
    }

    #[test]
    fn another_listener_answers_to_all_hosts_unless_there_are_names() {
        let any = hosts("0.0.0.0:9797", &[]);
        assert!(permit(&any, "agent.example"));
        let named = hosts("0.0.0.0:9797", &["agent.example"]);
        for host in ["agent.example", "localhost", "192.0.2.1:9797", "[::1]"] {
            assert!(permit(&named, host), "{host}");
        }
        assert!(!permit(&named, "attacker.example"));
    }
}
