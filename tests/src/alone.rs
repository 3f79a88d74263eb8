//! Tests that run while no other test does. All others run side by side: each has a cgroup of its
//! own, and its agents observe only that.

use std::env;

/// Names, or beginnings of names, of the tests that run alone. `.config/nextest.toml` has the same
/// list; a test compares the two.
pub const ALONE: &[&str] = &[
    // The kernel's objects of all agents, and the newest map of a name.
    "kernel_tables::",
    "killed::",
    // A switch of the whole kernel.
    "dashboards::every_query_returns_data",
    // Times, of which other tests would take a part.
    "http_attack::",
    "stalls::",
    "start_up::",
    // Searches of whole files, which the agent does at idle priority: on CPUs that are never idle
    // they take long.
    "coverage::unobserved_processes_are_listed_with_the_reason",
    "hooks::a_stripped_program",
    "hostile::crafted_files_delay_nobody",
    // A program that makes every agent of the host detach from its library.
    "hostile::a_program_under_valgrind_survives",
    // Agents that observe the whole host, and processes outside of the tests' cgroup.
    "lifecycle::no_btf",
    "offers::a_host_without_a_cgroup_mount",
    "systemd::",
    "workloads::containers_units_and_processes_are_named",
];

/// Whether the test of this process runs alone.
#[must_use]
pub fn is_alone() -> bool {
    match only_test(env::args().skip(1)) {
        Some(name) => ALONE.iter().any(|begin| name.starts_with(begin)),
        // A process with several tests cannot have a class for each.
        None => true,
    }
}

/// The name of the only test that a process with these arguments runs.
fn only_test(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    let (mut exact, mut names) = (false, Vec::new());
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--exact" => exact = true,
            "--test-threads" | "--format" | "--color" | "-Z" => drop(arguments.next()),
            word if word.starts_with('-') => {}
            name => names.push(name.to_owned()),
        }
    }
    let [name] = <[String; 1]>::try_from(names).ok()?;
    exact.then_some(name)
}
