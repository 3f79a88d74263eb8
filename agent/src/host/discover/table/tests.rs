use super::*;

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
