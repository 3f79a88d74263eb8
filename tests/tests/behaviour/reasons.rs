//! Reasons of missed sessions over servers, kinds of sessions and faults: none is wrong, and nearly
//! all are named. `REPRISE_MATRIX` restricts a run to the cells whose name contains it.

use reprise_tests::matrix::{
    Apache, Asyncio, GnuTls, Go, Gunicorn, HaProxy, Java, Mosquitto, Nginx, Node, Rustls, SServer,
    Stunnel, Threads, Uvicorn, hold,
};

#[test]
fn haproxy() {
    hold(&HaProxy);
}

#[test]
fn nginx() {
    hold(&Nginx);
}

#[test]
fn apache() {
    hold(&Apache);
}

#[test]
fn stunnel() {
    hold(&Stunnel);
}

#[test]
fn mosquitto() {
    hold(&Mosquitto);
}

#[test]
fn python_threads() {
    hold(&Threads);
}

#[test]
fn python_asyncio() {
    hold(&Asyncio);
}

#[test]
fn node() {
    hold(&Node);
}

#[test]
fn gunicorn() {
    hold(&Gunicorn);
}

#[test]
fn uvicorn() {
    hold(&Uvicorn);
}

#[test]
fn s_server() {
    hold(&SServer);
}

#[test]
fn go_on_the_wire() {
    hold(&Go::build());
}

#[test]
fn java_on_the_wire() {
    hold(&Java::build());
}

#[test]
fn gnutls_on_the_wire() {
    hold(&GnuTls);
}

#[test]
fn rustls_on_the_wire() {
    hold(&Rustls::new(env!("CARGO_BIN_EXE_rustls_server")));
}
