//! Values by role.

use enum_map::EnumMap;

use crate::model::Role;

/// One value per role of the observed process.
pub type ByRole<T> = EnumMap<Role, T>;
