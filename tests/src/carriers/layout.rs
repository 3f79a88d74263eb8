//! Field offsets according to the debug information of the same build.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use gimli::{
    AttributeValue, DebugInfoOffset, EndianSlice, LittleEndian, UnitOffset, constants as dw,
};
use object::{Object as _, ObjectSection as _};

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;

/// A field: its structure and the path of members.
type Field = (&'static str, &'static [&'static str]);

/// Fields of the connection by their names in a plan, with their paths. OpenSSL 3.2 split `SSL`
/// into `SSL` and `SSL_CONNECTION` (ssl/ssl_local.h).
const CONNECTION: [(&str, &[&str]); 12] = [
    ("state", &["statem", "state"]),
    ("hand_state", &["statem", "hand_state"]),
    ("in_init", &["statem", "in_init"]),
    ("server", &["server"]),
    ("version", &["version"]),
    ("hit", &["hit"]),
    ("rbio", &["rbio"]),
    ("wbio", &["wbio"]),
    ("rwstate", &["rwstate"]),
    ("shutdown", &["shutdown"]),
    ("client_random", &["s3", "client_random"]),
    ("session", &["session"]),
];
/// Fields of the session by their names in a plan, with their paths.
const SESSION: [(&str, &[&str]); 4] = [
    ("session_time", &["time"]),
    ("session_timeout", &["timeout"]),
    ("session_id", &["session_id"]),
    ("session_id_length", &["session_id_length"]),
];
/// The connection's structure since 3.2, and before.
const STRUCTURES: [&str; 2] = ["ssl_connection_st", "ssl_st"];

/// Offsets by the names of the fields in a plan: one, or two where a pointer is followed.
pub type Layout = HashMap<&'static str, Vec<u64>>;

/// Reads the offsets of connection, session and BIO fields from files with debug information.
///
/// # Panics
/// If a field is missing: the test would have no ground truth.
#[must_use]
pub fn read(ssl: &Path, crypto: &Path) -> Layout {
    let mut layout = with_dwarf(ssl, |types| {
        let structure = STRUCTURES
            .iter()
            .find(|structure| types.find(structure).is_some())
            .expect("the debug information has the structure of the connection");
        let connection = CONNECTION.iter().map(|field| (*structure, field));
        let session = SESSION.iter().map(|field| ("ssl_session_st", field));
        connection
            .chain(session)
            .map(|(structure, (name, path))| (*name, types.offsets((structure, path))))
            .collect::<Layout>()
    });
    let flags = with_dwarf(crypto, |types| types.offsets(("bio_st", &["flags"])));
    layout.insert("bio_flags", flags);
    layout
}

fn with_dwarf<T>(path: &Path, read: impl FnOnce(&mut Types<'_>) -> T) -> T {
    let bytes =
        fs::read(path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
    let file = object::File::parse(bytes.as_slice()).expect("a linker writes object files");
    let load = |id: gimli::SectionId| {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok());
        Ok::<_, gimli::Error>(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
    };
    let dwarf = Dwarf::load(load).expect("sections are as the compiler wrote them");
    read(&mut Types::of(&dwarf))
}

/// Structure definitions of one file.
struct Types<'a> {
    dwarf: &'a Dwarf<'a>,
    units: Vec<gimli::Unit<Slice<'a>>>,
    /// Unit and entry of each structure looked up so far.
    found: HashMap<&'static str, Option<Entry>>,
}

/// A debugging information entry: index of its unit and offset in it.
type Entry = (usize, UnitOffset);

impl<'a> Types<'a> {
    fn of(dwarf: &'a Dwarf<'a>) -> Self {
        let mut headers = dwarf.units();
        let mut units = Vec::new();
        while let Some(header) = headers.next().expect("units are well-formed") {
            units.push(dwarf.unit(header).expect("units are well-formed"));
        }
        Self {
            dwarf,
            units,
            found: HashMap::new(),
        }
    }

    /// Returns the definition of a structure from the unit that has it complete.
    fn find(&mut self, structure: &'static str) -> Option<Entry> {
        if let Some(found) = self.found.get(structure) {
            return *found;
        }
        let found =
            (0..self.units.len()).find_map(|index| Some((index, self.find_in(index, structure)?)));
        self.found.insert(structure, found);
        found
    }

    fn find_in(&self, index: usize, structure: &str) -> Option<UnitOffset> {
        let unit = self.units.get(index)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs().expect("entries are well-formed") {
            if entry.tag() == dw::DW_TAG_structure_type
                && entry.attr(dw::DW_AT_declaration).is_none()
                && self
                    .name(index, entry.attr_value(dw::DW_AT_name))
                    .as_deref()
                    == Some(structure)
            {
                return Some(entry.offset());
            }
        }
        None
    }

    /// Returns the offset in the structure, and one more for each pointer that is followed.
    fn offsets(&mut self, (structure, path): Field) -> Vec<u64> {
        let mut at = self
            .find(structure)
            .unwrap_or_else(|| panic!("no {structure} in the debug information"));
        let mut offsets = vec![0];
        for (step, member) in path.iter().enumerate() {
            let (offset, kind) = self
                .member(at, member)
                .unwrap_or_else(|| panic!("no {member} in {structure}"));
            *offsets.last_mut().expect("is never empty") += offset;
            if step + 1 < path.len() {
                let (inner, behind_pointer) = self.structure_of(kind);
                at = inner;
                if behind_pointer {
                    offsets.push(0);
                }
            }
        }
        offsets
    }

    /// Returns offset and type of a member.
    fn member(&self, (index, at): Entry, wanted: &str) -> Option<(u64, Entry)> {
        let unit = self.units.get(index)?;
        let mut tree = unit.entries_tree(Some(at)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Some(child) = children.next().expect("entries are well-formed") {
            let entry = child.entry();
            if self
                .name(index, entry.attr_value(dw::DW_AT_name))
                .as_deref()
                != Some(wanted)
            {
                continue;
            }
            let offset = entry
                .attr_value(dw::DW_AT_data_member_location)?
                .udata_value()?;
            return Some((
                offset,
                self.target(index, entry.attr_value(dw::DW_AT_type)?)?,
            ));
        }
        None
    }

    /// Returns the structure that a type is or points to, and whether it is a pointer.
    fn structure_of(&mut self, mut at: Entry) -> (Entry, bool) {
        let mut pointer = false;
        loop {
            let (index, offset) = at;
            let entry = self.units[index]
                .entry(offset)
                .expect("types refer to entries");
            if entry.tag() == dw::DW_TAG_structure_type {
                return (at, pointer);
            }
            pointer |= entry.tag() == dw::DW_TAG_pointer_type;
            let inner = entry
                .attr_value(dw::DW_AT_type)
                .expect("a type has an inner one");
            at = self.target(index, inner).expect("types refer to entries");
        }
    }

    fn target(&self, index: usize, value: AttributeValue<Slice<'a>>) -> Option<Entry> {
        match value {
            AttributeValue::UnitRef(offset) => Some((index, offset)),
            AttributeValue::DebugInfoRef(offset) => self.anywhere(offset),
            _ => None,
        }
    }

    fn anywhere(&self, at: DebugInfoOffset) -> Option<Entry> {
        self.units
            .iter()
            .enumerate()
            .find_map(|(index, unit)| Some((index, at.to_unit_offset(&unit.header)?)))
    }

    fn name(&self, index: usize, value: Option<AttributeValue<Slice<'a>>>) -> Option<String> {
        let text = self
            .dwarf
            .attr_string(self.units.get(index)?, value?)
            .ok()?;
        Some(text.to_string_lossy().into_owned())
    }
}
