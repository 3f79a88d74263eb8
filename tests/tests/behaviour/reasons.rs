//! Reasons of missed sessions for combinations of server, kind of session and fault: no reason is
//! wrong, and at most one in twenty is unknown. By default each fault runs with one kind of
//! session; `REPRISE_MATRIX=all` runs all cells (CONTRIBUTING.md).

use reprise_tests::matrix::{
    Apache, Asyncio, Erlang, GnuTls, Go, Gunicorn, HaProxy, Java, MbedTls, Mosquitto, Nginx, Node,
    Rustls, SServer, Stunnel, Threads, Uvicorn, assert_reasons,
};

#[test]
fn haproxy() {
    assert_reasons(&HaProxy);
}

#[test]
fn nginx() {
    assert_reasons(&Nginx);
}

#[test]
fn apache() {
    assert_reasons(&Apache);
}

#[test]
fn stunnel() {
    assert_reasons(&Stunnel);
}

#[test]
fn mosquitto() {
    assert_reasons(&Mosquitto);
}

#[test]
fn python_threads() {
    assert_reasons(&Threads);
}

#[test]
fn python_asyncio() {
    assert_reasons(&Asyncio);
}

#[test]
fn node() {
    assert_reasons(&Node);
}

#[test]
fn gunicorn() {
    assert_reasons(&Gunicorn);
}

#[test]
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

#[test]
fn erlang_on_the_wire() {
    assert_reasons(&Erlang::build());
}

#[test]
fn mbedtls_on_the_wire() {
    assert_reasons(&MbedTls::build());
}
