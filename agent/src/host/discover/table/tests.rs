use super::{
    entry::{GRACE, SHORT_GRACE},
    sharing::MAX_FILES_PER_GROUP,
    *,
};
use crate::host::discover::{places::Changes, translators};
use std::rc::Rc;

const ROOT: u64 = 1;
const PLACES: usize = 100;

fn file(inode: u64) -> FileId {
    FileId::new(2, inode)
}

fn add(table: &mut Table, inode: u64, state: FileState) -> LibraryId {
    table.add(file(inode), format!("/lib/{inode}"), state, None, true)
}

/// A time at which unused files are released.
fn later(times: u32) -> Instant {
    Instant::now() + SHORT_GRACE * times
}

fn record(table: &mut Table, pid: u32, inodes: &[u64]) {
    let files = inodes.iter().map(|inode| file(*inode)).collect();
    table.record_process(pid, Process::new(1, files, owner("", 0)));
}

fn owner(group: &str, uid: u32) -> Owner {
    Owner {
        group: group.into(),
        uid,
    }
}

#[test]
fn a_file_is_retained_while_it_is_used_or_in_a_standard_dir() {
    let mut table = Table::new(ROOT, PLACES);
    let used = add(&mut table, 1, FileState::Observed);
    add(&mut table, 2, FileState::Observed);
    table.set_standard_dirs(&HashSet::from([file(2)]));
    record(&mut table, 10, &[1]);
    record(&mut table, 11, &[1, 2]);
    assert_eq!(table.release(later(1)), Released::default());
    // An entry without a user yet has the grace time.
    add(&mut table, 3, FileState::Pending);
    assert_eq!(table.release(Instant::now()), Released::default());
    assert_eq!(table.release(later(2)).files, HashSet::from([file(3)]));
    assert_eq!(table.coverage().users.get(&used), Some(&2));
    table.remove_process(11);
    assert_eq!(table.holders(), [10]);
    table.retain_processes(|pid| pid != 10);
    let released = table.release(later(3));
    assert_eq!(released.libraries, [used]);
    assert_eq!(released.files, HashSet::from([file(1)]));
    table.set_standard_dirs(&HashSet::new());
    assert!(table.release(later(4)).files.contains(&file(2)));
}

#[test]
fn other_names_of_a_released_file_are_released_too() {
    let mut table = Table::new(ROOT, PLACES);
    let first = add(&mut table, 1, FileState::Observed);
    add(&mut table, 2, FileState::SameAs(file(1)));
    record(&mut table, 10, &[1]);
    record(&mut table, 20, &[2]);
    let coverage = table.coverage();
    assert_eq!(
        (coverage.observed, coverage.users.get(&first)),
        (2, Some(&2))
    );
    table.remove_process(10);
    let released = table.release(later(5));
    assert_eq!(
        (released.libraries, released.uncovered),
        (vec![first], vec![20])
    );
    assert_eq!(released.files, HashSet::from([file(1), file(2)]));
    assert_eq!(table.code_of(20), Some(0), "to be read again");
}

#[test]
fn a_process_is_uncovered_if_none_of_its_libraries_is_observed() {
    let mut table = Table::new(ROOT, PLACES);
    let rejected = |reason| FileState::Rejected(reason, "words".to_owned());
    add(&mut table, 1, FileState::Observed);
    add(&mut table, 2, rejected(Reason::OtherLibrary));
    add(&mut table, 3, rejected(Reason::UnsupportedBuild));
    let waiting = add(&mut table, 4, FileState::Pending);
    record(&mut table, 10, &[1, 2]);
    record(&mut table, 11, &[2]);
    record(&mut table, 12, &[2, 3]);
    record(&mut table, 13, &[4]);
    record(&mut table, 14, &[]);
    table.record_problem(15, 1, (Reason::Unreadable, "refused".to_owned()));
    let counts = |table: &Table| -> Vec<(Reason, u64)> {
        let coverage = table.coverage();
        let counts = coverage.uncovered.iter();
        counts
            .map(|(reason, some)| (*reason, some.processes))
            .collect()
    };
    let expected = [
        (Reason::OtherLibrary, 1),
        (Reason::Unreadable, 1),
        (Reason::UnsupportedBuild, 1),
    ];
    assert_eq!(counts(&table), expected);
    assert_eq!(table.coverage().observed, 2);
    let example = table.coverage().uncovered[&Reason::UnsupportedBuild].examples[0].clone();
    assert_eq!((example.pid, example.file.as_str()), (12, "/lib/3"));
    table.record_attach(waiting, Some((Reason::AttachFailed, "no".to_owned())));
    assert_eq!(counts(&table)[0], (Reason::AttachFailed, 1));
}

#[test]
fn the_number_of_examples_is_bounded() {
    let mut table = Table::new(ROOT, PLACES);
    add(
        &mut table,
        1,
        FileState::Rejected(Reason::Ignored, String::new()),
    );
    for pid in 0..100 {
        record(&mut table, pid, &[1]);
    }
    let ignored = &table.coverage().uncovered[&Reason::Ignored];
    assert_eq!(
        (ignored.processes, ignored.examples.len()),
        (100, MAX_EXAMPLES)
    );
}

#[test]
fn files_of_the_root_file_system_have_a_longer_grace_time() {
    let mut table = Table::new(ROOT, PLACES);
    let on_root = FileId::new(ROOT, 7);
    table.add(on_root, String::new(), FileState::Observed, None, true);
    let begin = Instant::now();
    assert_eq!(table.release(begin + SHORT_GRACE), Released::default());
    assert!(table.release(begin + GRACE).files.contains(&on_root));
}

#[test]
fn a_refused_file_is_tried_again_when_a_place_is_free() {
    let mut table = Table::new(ROOT, 2);
    for inode in [1, 2] {
        add(&mut table, inode, FileState::Observed);
        record(&mut table, inode as u32, &[inode]);
    }
    assert!(!table.has_free_place());
    let waiting = FileState::Waiting(Reason::TooManyLibraries, String::new());
    let id = add(&mut table, 3, waiting);
    record(&mut table, 3, &[3]);
    assert_eq!(table.share_places(|_| Some(false)), Changes::default());
    let uncovered = &table.coverage().uncovered[&Reason::TooManyLibraries];
    assert_eq!(uncovered.processes, 1);
    table.remove_process(1);
    table.release(Instant::now());
    table.release(later(2));
    let changes = table.share_places(|_| Some(false));
    assert_eq!((changes.admitted, changes.evicted), (vec![file(3)], vec![]));
    add(&mut table, 4, FileState::SameAs(file(3)));
    record(&mut table, 4, &[4]);
    let mut retried = table.retry(file(3)).unwrap();
    retried.users.sort_unstable();
    assert_eq!((retried.id, retried.users), (id, vec![3, 4]));
    assert_eq!(retried.files, HashSet::from([file(3), file(4)]));
    assert_eq!(table.code_of(3), Some(0), "to be read again");
}

#[test]
fn descriptors_that_ran_out_leave_fewer_places() {
    let mut table = Table::new(ROOT, PLACES);
    add(&mut table, 1, FileState::Observed);
    let id = add(&mut table, 2, FileState::Pending);
    record(&mut table, 10, &[1, 2]);
    table.record_attach(id, Some((Reason::TooManyLibraries, String::new())));
    assert_eq!((table.places(), table.has_free_place()), (1, false));
    assert_eq!(table.share_places(|_| Some(false)), Changes::default());
    table.grow();
    assert_eq!(table.share_places(|_| None).admitted, [file(2)]);
    (0..2 * PLACES).for_each(|_| table.grow());
    assert_eq!(table.places(), PLACES);
}

#[test]
fn the_files_of_one_group_are_bounded() {
    let mut table = Table::new(ROOT, PLACES);
    let (hostile, other): (Rc<str>, Rc<str>) = ("h".into(), "o".into());
    for inode in 0..MAX_FILES_PER_GROUP as u64 {
        assert!(!table.is_full(&hostile));
        add(
            &mut table,
            inode,
            FileState::Rejected(Reason::Ignored, String::new()),
        );
        let files = vec![file(inode)];
        let process = Process::new(1, files, owner("h", 1000));
        table.record_process(inode as u32, process);
    }
    assert!(table.is_full(&hostile) && !table.is_full(&other));
    table.count_groups();
    assert!(table.is_full(&hostile) && !table.is_full(&other));
    table.retain_processes(|pid| pid != 0);
    table.count_groups();
    assert!(!table.is_full(&hostile));
}

#[test]
fn a_file_is_left_to_a_translator_unless_that_blinds_others() {
    let mut table = Table::new(ROOT, PLACES);
    add(&mut table, 1, FileState::Observed);
    let mut process = Process::new(1, vec![file(1)], owner("", 1000));
    process.translator = Some("Valgrind");
    table.record_process(10, process);
    assert_eq!(table.translated_by(file(1)), Some((10, "Valgrind")));
    // By another name, too.
    add(&mut table, 2, FileState::SameAs(file(1)));
    let mut process = Process::new(1, vec![file(2)], owner("", 1000));
    process.translator = Some("Valgrind");
    table.record_process(10, process);
    assert_eq!(table.translated()[0].0, file(1));
    // Another user's process maps the file: this user must not end its observation.
    let other = Process::new(1, vec![file(1)], owner("", 33));
    table.record_process(11, other);
    assert_eq!(table.translated(), []);
    let mut process = Process::new(1, vec![file(1)], owner("", 0));
    process.translator = Some("Valgrind");
    table.record_process(12, process);
    assert_eq!(table.translated_by(file(1)), Some((12, "Valgrind")));
    let [(found, translated)] = table.translated().try_into().unwrap();
    assert_eq!(found, file(1));
    table.evict(
        found,
        translators::reason(translated),
        translators::finding(translated),
    );
    assert_eq!(table.coverage().uncovered[&Reason::Translated].processes, 3);
    assert_eq!(
        table.share_places(|_| None),
        Changes::default(),
        "still mapped"
    );
    table.remove_process(12);
    assert_eq!(table.share_places(|_| None).admitted, [file(1)]);
}

#[test]
fn a_file_is_left_to_an_excluded_process_of_any_user() {
    let mut table = Table::new(ROOT, PLACES);
    add(&mut table, 1, FileState::Observed);
    let mut process = Process::new(1, vec![file(1)], owner("", 1000));
    process.translator = Some(translators::EXCLUDED);
    table.record_process(10, process);
    let other = Process::new(1, vec![file(1)], owner("", 33));
    table.record_process(11, other);
    let [(_, translated)] = table.translated().try_into().unwrap();
    assert_eq!(translated, (10, translators::EXCLUDED));
    assert_eq!(translators::reason(translated), Reason::Ignored);
}
