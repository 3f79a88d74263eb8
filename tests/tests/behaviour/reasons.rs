//! Reasons of missed sessions for combinations of server, kind of session and fault: no reason is
//! wrong, and at most one in twenty is unknown. `REPRISE_MATRIX` selects the cells whose name
//! contains its value.

use reprise_tests::matrix::{
    Apache, Asyncio, GnuTls, Go, Gunicorn, HaProxy, Java, Mosquitto, Nginx, Node, Rustls, SServer,
    Stunnel, Threads, Uvicorn, assert_reasons,
};

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn haproxy() {
    assert_reasons(&HaProxy);
}

#[test]
fn nginx() {
    assert_reasons(&Nginx);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn apache() {
    assert_reasons(&Apache);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn stunnel() {
    assert_reasons(&Stunnel);
}

#[test]
fn mosquitto() {
    assert_reasons(&Mosquitto);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn python_threads() {
    assert_reasons(&Threads);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn python_asyncio() {
    assert_reasons(&Asyncio);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn node() {
    assert_reasons(&Node);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn gunicorn() {
    assert_reasons(&Gunicorn);
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn uvicorn() {
    assert_reasons(&Uvicorn);
}

#[test]
fn s_server() {
    assert_reasons(&SServer);
}

#[test]
fn go_on_the_wire() {
    assert_reasons(&Go::build());
}

#[test]
#[ignore = "too many misses of this server have no reason yet"]
fn java_on_the_wire() {
    assert_reasons(&Java::build());
}

#[test]
fn gnutls_on_the_wire() {
    assert_reasons(&GnuTls);
}

#[test]
fn rustls_on_the_wire() {
    assert_reasons(&Rustls::new(env!("CARGO_BIN_EXE_rustls_server")));
}
