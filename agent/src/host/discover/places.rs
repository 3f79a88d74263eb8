//! Shares the places for observed library files between their owners. Pure.
//!
//! A file belongs to the owners of the processes that map it. The file that loses its place is one
//! of the owner with the most places, so that no owner can displace the files of others. Within one
//! owner, files of listening processes and files at rest (neither unlinked nor in memory only) come
//! first.

use std::{collections::HashMap, rc::Rc};

use super::{image::FileId, owner::Owner};

/// Maximum number of files that lose their place at one time, since each is detached and attached.
const MAX_SWAPS: usize = 16;

/// A file that has a place or waits for one.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) file: FileId,
    /// Owners of the processes that map it.
    pub(super) owners: Vec<Owner>,
    /// Preference within one owner, higher is better.
    pub(super) rank: u8,
    /// It lies in a standard directory: it never loses its place.
    pub(super) is_standard: bool,
}

/// Files that get a place, and files that lose theirs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) admitted: Vec<FileId>,
    pub(super) evicted: Vec<FileId>,
}

/// Places of a group, and of the user in it: of the owner with the fewest.
type Load = (usize, usize);

/// Numbers of places.
#[derive(Debug, Default)]
struct Counts {
    groups: HashMap<Rc<str>, usize>,
    owners: HashMap<Owner, usize>,
}

impl Counts {
    fn add(&mut self, candidate: &Candidate) {
        for (group, owner) in distinct(candidate) {
            if let Some(group) = group {
                *self.groups.entry(Rc::clone(group)).or_default() += 1;
            }
            *self.owners.entry(owner.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, candidate: &Candidate) {
        for (group, owner) in distinct(candidate) {
            if let Some(count) = group.and_then(|group| self.groups.get_mut(group)) {
                *count = count.saturating_sub(1);
            }
            if let Some(count) = self.owners.get_mut(owner) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn load(&self, candidate: &Candidate) -> Load {
        let loads = candidate.owners.iter().map(|owner| {
            let group = self.groups.get(&owner.group).copied().unwrap_or_default();
            let own = self.owners.get(owner).copied().unwrap_or_default();
            (group, own)
        });
        loads.min().unwrap_or_default()
    }
}

/// The owners of a file, each with its group unless an earlier one is in the same group.
fn distinct(candidate: &Candidate) -> impl Iterator<Item = (Option<&Rc<str>>, &Owner)> {
    candidate.owners.iter().enumerate().map(|(index, owner)| {
        let mut earlier = candidate.owners.iter().take(index);
        let is_new = earlier.all(|other| other.group != owner.group);
        (is_new.then_some(&owner.group), owner)
    })
}

/// Chooses which waiting files get a place: `places` minus those of `holders` are free.
pub(super) fn share(holders: Vec<Candidate>, waiting: Vec<Candidate>, places: usize) -> Changes {
    let mut counts = Counts::default();
    holders.iter().for_each(|holder| counts.add(holder));
    let mut free = places.saturating_sub(holders.len());
    let mut holders: Vec<Candidate> = holders
        .into_iter()
        .filter(|holder| !holder.is_standard)
        .collect();
    let mut waiting = waiting;
    waiting.sort_by_key(|one| (!one.is_standard, counts.load(one), u8::MAX - one.rank));
    let mut changes = Changes::default();
    for one in waiting {
        if free > 0 {
            free -= 1;
        } else if changes.evicted.len() >= MAX_SWAPS {
            break;
        } else {
            let worst = holders
                .iter()
                .enumerate()
                .max_by_key(|(_, holder)| (counts.load(holder), u8::MAX - holder.rank));
            let Some((at, victim)) = worst else {
                break;
            };
            let before = (counts.load(victim), u8::MAX - victim.rank);
            counts.remove(victim);
            counts.add(&one);
            let after = (counts.load(&one), u8::MAX - one.rank);
            counts.remove(&one);
            if !one.is_standard && after >= before {
                counts.add(victim);
                continue;
            }
            changes.evicted.push(holders.swap_remove(at).file);
        }
        counts.add(&one);
        changes.admitted.push(one.file);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(inode: u64, owners: &[(&str, u32)], rank: u8) -> Candidate {
        let owners = owners.iter().map(|(group, uid)| Owner {
            group: (*group).into(),
            uid: *uid,
        });
        Candidate {
            file: FileId::new(1, inode),
            owners: owners.collect(),
            rank,
            is_standard: false,
        }
    }

    fn inodes(files: &[FileId]) -> Vec<u64> {
        files.iter().map(|file| file.underlying_inode()).collect()
    }

    #[test]
    fn the_owner_with_the_most_places_gives_way() {
        let hostile = |inode| candidate(inode, &[("user-1000.slice", 1000)], 0);
        let mut holders: Vec<_> = (0..9).map(hostile).collect();
        holders.push(candidate(90, &[("nginx.service", 33)], 2));
        let new = candidate(91, &[("haproxy.service", 99)], 2);
        let changes = share(holders.clone(), vec![new, hostile(10)], 10);
        assert_eq!(inodes(&changes.admitted), [91]);
        assert!(changes.evicted[0].underlying_inode() < 9);
        // A further file of the owner with the most places waits.
        let changes = share(holders, vec![hostile(10)], 10);
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn mapping_the_files_of_others_does_not_push_them_out() {
        let own = ("user-1000.slice", 1000);
        let mut holders: Vec<_> = (0..9).map(|inode| candidate(inode, &[own], 2)).collect();
        holders.push(candidate(90, &[own, ("nginx.service", 33)], 0));
        let new = candidate(91, &[("haproxy.service", 99)], 0);
        let changes = share(holders, vec![new], 10);
        assert!(changes.evicted[0].underlying_inode() < 9);
    }

    #[test]
    fn users_of_one_group_share_its_places() {
        let hostile = |inode| candidate(inode, &[("", 1000)], 2);
        let holders: Vec<_> = (0..10).map(hostile).collect();
        let changes = share(holders, vec![candidate(50, &[("", 33)], 0)], 10);
        assert_eq!(inodes(&changes.admitted), [50]);
        assert_eq!(changes.evicted.len(), 1);
    }

    #[test]
    fn within_one_owner_the_better_file_has_the_place() {
        let own = |inode, rank| candidate(inode, &[("a.service", 7)], rank);
        let holders = vec![own(1, 1), own(2, 0), own(3, 2)];
        let changes = share(holders.clone(), vec![own(4, 2), own(5, 0)], 3);
        assert_eq!(
            (inodes(&changes.admitted), inodes(&changes.evicted)),
            (vec![4], vec![2])
        );
        let standard = Candidate {
            is_standard: true,
            ..own(6, 0)
        };
        let changes = share(holders, vec![standard], 3);
        assert_eq!(inodes(&changes.admitted), [6], "always has a place");
    }

    #[test]
    fn sharing_reaches_a_state_in_which_nothing_gives_way() {
        let owners = [("a", 1), ("b", 2), ("c", 3)];
        let mut all: Vec<_> = (0..60)
            .map(|inode| {
                candidate(
                    inode,
                    &[owners[(inode % 5).min(2) as usize]],
                    (inode % 3) as u8,
                )
            })
            .collect();
        let mut waiting = all.split_off(20);
        let mut holders = all;
        for round in 0.. {
            let changes = share(holders.clone(), waiting.clone(), 20);
            if changes == Changes::default() {
                assert!(round > 0);
                break;
            }
            assert!(round < 20, "{changes:?}");
            let evicted = |one: &Candidate| changes.evicted.contains(&one.file);
            let admitted = |one: &Candidate| changes.admitted.contains(&one.file);
            let (gone, stay): (Vec<_>, Vec<_>) = holders.into_iter().partition(evicted);
            let (come, wait): (Vec<_>, Vec<_>) = waiting.into_iter().partition(admitted);
            holders = [stay, come].concat();
            waiting = [wait, gone].concat();
            assert_eq!(holders.len(), 20);
        }
    }

    #[test]
    fn free_places_are_given_in_fair_order() {
        let hostile = |inode| candidate(inode, &[("h", 1)], 2);
        let holders = vec![hostile(1)];
        let changes = share(holders, vec![hostile(2), candidate(3, &[("v", 2)], 0)], 2);
        assert_eq!(
            (inodes(&changes.admitted), changes.evicted.len()),
            (vec![3], 0)
        );
    }
}
