//! Contents of the agent's maps, read from the kernel.

use aya::maps::{Array, HashMap, Map, MapData, MapError, loaded_maps};
use reprise_ebpf::handshake::{Open, TlsProcess};

/// Number of entries of each process in one of the agent's hash maps whose keys begin with the
/// process, or end with it in the upper half of a word (threads).
fn open(name: &str) -> Option<Map> {
    let mut newest = None;
    for info in loaded_maps().flatten() {
        if info.name_as_str() == Some(name) {
            newest = Some(info.id());
        }
    }
    let data = MapData::from_id(newest?).ok()?;
    Some(if name == "HS_DRIVERS" {
        Map::Array(data)
    } else {
        Map::LruHashMap(data)
    })
}

/// Keys of a map by the process in each.
///
/// # Panics
/// If no agent runs.
#[must_use]
pub fn processes_in(name: &str) -> Vec<u32> {
    let map = open(name).unwrap_or_else(|| panic!("no map {name}"));
    let tgids = match name {
        "HS_TASKS" => keys::<4, { size_of::<TlsProcess>() }>(map)
            .map(|keys| keys.iter().map(|key| first(key)).collect()),
        "HS_OPEN" => keys::<16, { size_of::<Open>() }>(map)
            .map(|keys| keys.iter().map(|key| first(key)).collect()),
        "HS_FRAMES" => keys::<16, 24>(map).map(|keys| keys.iter().map(|key| first(key)).collect()),
        "HS_ACTIVE" | "HS_FREEING" => threads::<24>(map),
        "HS_RECEIVED" => threads::<64>(map),
        "HS_ERRORS" => threads::<16>(map),
        "HS_UNSENT" => threads::<8>(map),
        other => panic!("{other} is not keyed by process"),
    };
    tgids.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn first(key: &[u8]) -> u32 {
    u32::from_ne_bytes(key[..4].try_into().expect("four bytes"))
}

fn keys<const K: usize, const V: usize>(map: Map) -> Result<Vec<[u8; K]>, MapError> {
    let map: HashMap<MapData, [u8; K], [u8; V]> = map.try_into()?;
    Ok(map.keys().filter_map(Result::ok).collect())
}

/// The upper half of a thread's key is its process.
fn threads<const V: usize>(map: Map) -> Result<Vec<u32>, MapError> {
    let keys = keys::<8, V>(map)?;
    Ok(keys.iter().map(|key| first(&key[4..])).collect())
}

/// Sum of the counts of processes that drive handshakes.
///
/// # Panics
/// If no agent runs.
#[must_use]
pub fn drivers() -> u64 {
    let map = open("HS_DRIVERS").expect("no map HS_DRIVERS");
    let map: Array<MapData, u64> = map.try_into().expect("an array of counts");
    map.iter().filter_map(Result::ok).sum()
}
