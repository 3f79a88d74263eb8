use super::*;

const ROOT: u64 = 1;

fn file(inode: u64) -> FileId {
    FileId::of(2, inode)
}

fn add(table: &mut Table, inode: u64, state: State) -> u64 {
    let now = Instant::now();
    table.add(file(inode), format!("/lib/{inode}"), state, None, now)
}

/// So much later that what is not used any more is let go.
fn later(times: u32) -> Instant {
    Instant::now() + SHORT_GRACE * times
}

fn saw(table: &mut Table, pid: u32, inodes: &[u64]) {
    let files = inodes.iter().map(|inode| file(*inode)).collect();
    table.saw(pid, 1, files, None);
}

#[test]
fn a_file_lives_while_it_is_used_or_at_rest() {
    let mut table = Table::new(ROOT);
    let used = add(&mut table, 1, State::Observed);
    add(&mut table, 2, State::Observed);
    table.rest(&HashSet::from([file(2)]));
    saw(&mut table, 10, &[1]);
    saw(&mut table, 11, &[1, 2]);
    assert_eq!(table.release(later(1)), Released::default());
    // Entered without a user yet: given time.
    add(&mut table, 3, State::Waiting);
    assert_eq!(table.release(Instant::now()), Released::default());
    assert_eq!(table.release(later(2)).files, HashSet::from([file(3)]));
    assert_eq!(table.coverage().users.get(&used), Some(&2));
    table.forget(11);
    assert_eq!(table.holders(), [10]);
    table.keep(|pid| pid != 10);
    let released = table.release(later(3));
    assert_eq!(released.keys, [used]);
    assert_eq!(released.files, HashSet::from([file(1)]));
    table.rest(&HashSet::new());
    assert!(table.release(later(4)).files.contains(&file(2)));
}

#[test]
fn other_names_of_a_released_file_are_found_anew() {
    let mut table = Table::new(ROOT);
    let first = add(&mut table, 1, State::Observed);
    add(&mut table, 2, State::Same(file(1)));
    saw(&mut table, 10, &[1]);
    saw(&mut table, 20, &[2]);
    let coverage = table.coverage();
    assert_eq!(
        (coverage.observed, coverage.users.get(&first)),
        (2, Some(&2))
    );
    table.forget(10);
    let released = table.release(later(5));
    assert_eq!((released.keys, released.bereft), (vec![first], vec![20]));
    assert_eq!(released.files, HashSet::from([file(1), file(2)]));
    assert_eq!(table.code_of(20), Some(0), "to be read again");
}

#[test]
fn a_process_is_uncovered_when_nothing_it_uses_is_observed() {
    let mut table = Table::new(ROOT);
    let refused = |reason| State::Refused(reason, "words".to_owned());
    add(&mut table, 1, State::Observed);
    add(&mut table, 2, refused(Reason::OtherLibrary));
    add(&mut table, 3, refused(Reason::UnsupportedBuild));
    let waiting = add(&mut table, 4, State::Waiting);
    saw(&mut table, 10, &[1, 2]);
    saw(&mut table, 11, &[2]);
    saw(&mut table, 12, &[2, 3]);
    saw(&mut table, 13, &[4]);
    saw(&mut table, 14, &[]);
    table.saw(15, 1, Vec::new(), Some("refused".to_owned()));
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
    table.settle(waiting, Some((Reason::AttachFailed, "no".to_owned())));
    assert_eq!(counts(&table)[0], (Reason::AttachFailed, 1));
}

#[test]
fn examples_are_few() {
    let mut table = Table::new(ROOT);
    add(
        &mut table,
        1,
        State::Refused(Reason::Ignored, String::new()),
    );
    for pid in 0..100 {
        saw(&mut table, pid, &[1]);
    }
    let ignored = &table.coverage().uncovered[&Reason::Ignored];
    assert_eq!(
        (ignored.processes, ignored.examples.len()),
        (100, MAX_EXAMPLES)
    );
}

#[test]
fn files_of_the_root_file_system_stay_longer() {
    let mut table = Table::new(ROOT);
    let begin = Instant::now();
    let on_root = FileId::of(ROOT, 7);
    table.add(on_root, String::new(), State::Observed, None, begin);
    assert_eq!(table.release(begin + SHORT_GRACE), Released::default());
    assert!(table.release(begin + GRACE).files.contains(&on_root));
}
