use std::{fs, fs::File, os::unix::ffi::OsStrExt as _};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use super::*;

/// An inspection that hangs until the sender is dropped.
fn hang() -> (Sender<()>, impl FnOnce() + Send) {
    let (release, hung) = mpsc::channel();
    (release, move || {
        let _ = hung.recv();
    })
}

#[test]
fn inspections_return_their_results_on_one_thread() {
    let mut inspections = Inspections::default();
    let id = |inspections: &mut Inspections| {
        inspections.run(Subject::Process(1), "1", || thread::current().id())
    };
    let first = id(&mut inspections).unwrap();
    assert_eq!(id(&mut inspections), Ok(first));
    assert_eq!(inspections.unanswered().len(), 0);
}

#[test]
fn a_hung_inspection_is_abandoned_and_others_go_on() {
    let mut inspections = Inspections::default();
    let (release, inspect) = hang();
    let begin = Instant::now();
    let answer = inspections.run(Subject::Process(1), "process 1", inspect);
    assert_eq!(answer, Err(NoAnswer::Abandoned(LIMIT)));
    assert!(begin.elapsed() < LIMIT * 2);
    assert!(inspections.waited() >= LIMIT);
    let shown = inspections.unanswered().map(|(_, shown)| shown);
    assert!(shown.eq(["process 1"]));
    // The subject is skipped without a further delay, others are inspected.
    let begin = Instant::now();
    assert_eq!(
        inspections.run(Subject::Process(1), "", || ()),
        Err(NoAnswer::Blocked)
    );
    assert_eq!(inspections.run(Subject::Process(2), "", || 7), Ok(7));
    assert!(begin.elapsed() < LIMIT / 4);
    drop(release);
    while inspections.unanswered().len() > 0 {
        inspections.unblock(Instant::now());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(inspections.is_blocked(Subject::Process(1)), "for some time");
    assert!(inspections.unblock(Instant::now() + LIMIT * BACKOFF_FACTOR * 2));
    assert_eq!(inspections.run(Subject::Process(1), "", || 8), Ok(8));
}

#[test]
fn many_hung_inspections_delay_for_seconds() {
    let mut inspections = Inspections::default();
    let begin = Instant::now();
    let releases: Vec<_> = (0..20)
        .map(|pid| {
            let (release, inspect) = hang();
            assert!(inspections.run(Subject::Process(pid), "", inspect).is_err());
            release
        })
        .collect();
    assert!(begin.elapsed() < LIMIT * 3, "{:?}", begin.elapsed());
    assert_eq!(inspections.unanswered().len(), releases.len());
}

/// The kernel itself blocks this inspection: nobody opens the other end of the pipe.
#[test]
fn an_open_that_the_kernel_blocks_is_abandoned() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libssl.so.3");
    mkfifo(path.as_os_str().as_bytes(), Mode::S_IRWXU).unwrap();
    let mut inspections = Inspections::default();
    let opened = path.clone();
    let answer = inspections.run(Subject::StandardDirs, "", move || {
        File::open(opened).is_ok()
    });
    assert!(answer.is_err());
    assert_eq!(inspections.run(Subject::Process(1), "", || 1), Ok(1));
    // Opens the other end, so that the thread ends.
    fs::OpenOptions::new().write(true).open(&path).unwrap();
}
