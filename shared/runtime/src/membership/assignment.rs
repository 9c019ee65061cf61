//! Which member runs which partition: rendezvous hashing with bounded loads. A function of who is there, so that all of
//! them agree without talking about it.

use daybook_domain::ids::Partition;

/// The owners of each partition, first choice first, as indices into `members`; `replicas` of them, or all members if
/// they are fewer. No member owns more than its even share, rounded up; but for the last partitions, which may have to go
/// to one that does not run them yet: with more than one replica, one more for each further replica.
///
/// Each partition goes to the members whose hash with it is highest (Thaler and Ravishankar 1998), passing over those
/// that have their share. So members that come or go move little more than their own share. The order of `members` does
/// not matter to who owns what.
pub fn owners(members: &[&str], partitions: u16, replicas: usize) -> Vec<Vec<usize>> {
    let keys: Vec<[u8; 2]> = (0..partitions).map(u16::to_be_bytes).collect();
    owners_of(members, &keys, replicas)
}

/// As [`owners`], of things that are told apart by their keys.
fn owners_of(members: &[&str], keys: &[impl AsRef<[u8]>], replicas: usize) -> Vec<Vec<usize>> {
    let replicas = replicas.min(members.len());
    let mut owners: Vec<Vec<usize>> = vec![Vec::with_capacity(replicas); keys.len()];
    if replicas == 0 {
        return owners;
    }
    let capacity = (keys.len() * replicas).div_ceil(members.len());
    let mut loads = vec![0; members.len()];
    for _ in 0..replicas {
        for (key, owners) in keys.iter().zip(&mut owners) {
            let mut choices: Vec<usize> = (0..members.len()).filter(|member| !owners.contains(member)).collect();
            choices.sort_by_cached_key(|member| {
                std::cmp::Reverse((score(members[*member], key.as_ref()), members[*member]))
            });
            // When all that are left have their share, the fairest way out is the one that has least.
            let free = choices.iter().copied().find(|member| loads[*member] < capacity);
            let chosen = free.or_else(|| choices.iter().copied().min_by_key(|member| loads[*member]));
            let chosen = chosen.expect("there are more members than replicas chosen so far");
            loads[chosen] += 1;
            owners.push(chosen);
        }
    }
    owners
}

/// The partitions of which `member` is an owner.
pub fn owned<'m>(
    member: &str,
    members: impl IntoIterator<Item = &'m str>,
    partitions: u16,
    replicas: usize,
) -> Vec<Partition> {
    let members: Vec<&str> = members.into_iter().collect();
    let owners = owners(&members, partitions, replicas);
    let is_own = |owners: &Vec<usize>| owners.iter().any(|owner| members[*owner] == member);
    Partition::all(partitions).filter(|partition| is_own(&owners[usize::from(partition.0)])).collect()
}

/// Of things that are known by their names, those of which `member` is the owner. A name that comes or goes moves few others.
pub fn owned_names<'n>(member: &str, members: &[&str], names: &[&'n str]) -> Vec<&'n str> {
    let owners = owners_of(members, names, 1);
    let is_own = |owners: &Vec<usize>| owners.iter().any(|owner| members[*owner] == member);
    names.iter().zip(&owners).filter(|(_, owners)| is_own(owners)).map(|(name, _)| *name).collect()
}

/// FNV-1a of both, and the finaliser of SplitMix64, for the highest bits of FNV-1a hardly depend on the last bytes.
fn score(member: &str, key: &[u8]) -> u64 {
    let bytes = member.bytes().chain(key.iter().copied());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("member-{n}")).collect()
    }

    fn assigned(members: &[String], partitions: u16, replicas: usize) -> Vec<BTreeSet<String>> {
        let borrowed: Vec<&str> = members.iter().map(String::as_str).collect();
        let owners = owners(&borrowed, partitions, replicas);
        owners.into_iter().map(|owners| owners.into_iter().map(|owner| members[owner].clone()).collect()).collect()
    }

    #[test]
    fn every_partition_has_its_replicas_and_loads_are_even() {
        for members in 1..12 {
            for partitions in [1, 8, 32, 256] {
                for replicas in 1..4 {
                    let names = names(members);
                    let assigned = assigned(&names, partitions, replicas);
                    assert!(assigned.iter().all(|owners| owners.len() == replicas.min(members)));
                    let capacity = (usize::from(partitions) * replicas.min(members)).div_ceil(members);
                    for name in &names {
                        let load = assigned.iter().filter(|owners| owners.contains(name)).count();
                        let most = capacity + replicas - 1;
                        assert!(load <= most, "{members} {partitions} {replicas}: {load} of {capacity}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut names = names(5);
        let one = assigned(&names, 64, 2);
        names.reverse();
        assert_eq!(assigned(&names, 64, 2), one);
    }

    #[test]
    fn little_moves_when_a_member_comes() {
        for members in 2..10 {
            let (before, after) = (assigned(&names(members), 256, 1), assigned(&names(members + 1), 256, 1));
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            let share = 256 / (members + 1);
            assert!(moved >= share - 1 && moved <= 2 * share, "{members}: {moved} moved, its share is {share}");
        }
    }

    #[test]
    fn each_name_has_one_owner_and_a_new_one_moves_few() {
        let names: Vec<String> = (0..64).map(|n| format!("source-{n}")).collect();
        let members = ["a", "b", "c"];
        let owned = |count: usize| {
            let names: Vec<&str> = names[..count].iter().map(String::as_str).collect();
            members.map(|member| owned_names(member, &members, &names).into_iter().collect::<BTreeSet<_>>())
        };
        for count in 0..names.len() {
            let (before, after) = (owned(count), owned(count + 1));
            assert_eq!(before.iter().map(BTreeSet::len).sum::<usize>(), count);
            assert!(before.iter().all(|own| own.len() <= count.div_ceil(3)));
            let moved: usize = before.iter().zip(&after).map(|(before, after)| before.difference(after).count()).sum();
            assert!(moved <= 3, "{count}: {moved}");
        }
        assert_eq!(owned_names("d", &members, &["x"]), [""; 0]);
    }

    #[test]
    fn nobody_owns_nothing() {
        assert_eq!(owners(&[], 4, 1), vec![Vec::<usize>::new(); 4]);
        assert_eq!(owned("a", ["a"], 3, 2), [Partition(0), Partition(1), Partition(2)]);
    }
}
