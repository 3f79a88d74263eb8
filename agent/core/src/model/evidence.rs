//! Evidence of a miss: the rule that decided, and the facts it used.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{KeyName, MissReason, Removal};

/// The rule that decided the reason of a miss, with the facts known about the session. Facts that
/// are not known are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Name of the rule, as in the table of miss reasons.
    pub rule: &'static str,
    /// Process that missed the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// Process that issued the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<u32>,
    /// Whether the issuing process has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ended: Option<bool>,
    /// Sessions that share a cache with it and were issued since its last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// Highest rank at which the service has accepted a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_rank: Option<u64>,
    /// Age of the session, nanoseconds.
    #[serde(
        rename = "age_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "seconds"
    )]
    pub age_ns: Option<u64>,
    /// Lifetime of the session, nanoseconds.
    #[serde(
        rename = "lifetime_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "seconds"
    )]
    pub lifetime_ns: Option<u64>,
    /// Name of the ticket's key.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "key_name")]
    pub key: Option<KeyName>,
    /// Process that last used that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_used_by: Option<u32>,
    /// Nearly every ticket of the service has a key of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub per_connection_keys: bool,
    /// Cause of the session's removal from the cache.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "removal")]
    pub removal: Option<Removal>,
    /// For a client: reason of the newest miss that the server, on the same host, had for a session
    /// of this client.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reason")]
    pub server_reason: Option<MissReason>,
    /// Step of the server's clock since the session was issued, nanoseconds.
    #[serde(
        rename = "clock_step_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "signed_seconds"
    )]
    pub clock_step_ns: Option<i64>,
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn key_name<S: Serializer>(key: &Option<KeyName>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = key.map(|key| format!("{:08x}", key.get()));
    text.serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn removal<S: Serializer>(removal: &Option<Removal>, serializer: S) -> Result<S::Ok, S::Error> {
    removal.map(Removal::label).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn reason<S: Serializer>(reason: &Option<MissReason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(MissReason::label).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn seconds<S: Serializer>(ns: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    ns.map(|ns| ns as f64 / 1e9).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn signed_seconds<S: Serializer>(ns: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    ns.map(|ns| ns as f64 / 1e9).serialize(serializer)
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.rule)?;
        if let Some(tgid) = self.process {
            write!(f, ", missed by process {tgid}")?;
        }
        if let Some(tgid) = self.issued_by {
            let ended = match self.issuer_ended {
                Some(true) => " (ended)",
                _ => "",
            };
            write!(f, ", issued by process {tgid}{ended}")?;
        }
        if let Some(rank) = self.rank {
            write!(f, ", {rank} sessions issued since")?;
        }
        if let Some(rank) = self.accepted_rank {
            write!(f, " (accepted after at most {rank})")?;
        }
        if let Some(age) = self.age_ns {
            write!(f, ", age {}", Seconds(age))?;
        }
        if let Some(lifetime) = self.lifetime_ns {
            write!(f, ", lifetime {}", Seconds(lifetime))?;
        }
        if let Some(key) = self.key {
            write!(f, ", key {:08x}", key.get())?;
        }
        if let Some(tgid) = self.key_used_by {
            write!(f, " last used by process {tgid}")?;
        }
        if self.per_connection_keys {
            f.write_str(", a new key for nearly every connection")?;
        }
        if let Some(removal) = self.removal {
            write!(f, ", removed from the cache: {}", removal.label())?;
        }
        if let Some(reason) = self.server_reason {
            write!(f, ", the server is on this host: {}", reason.label())?;
        }
        if let Some(step) = self.clock_step_ns {
            let sign = if step < 0 { "-" } else { "" };
            write!(
                f,
                ", clock stepped by {sign}{}",
                Seconds(step.unsigned_abs())
            )?;
        }
        Ok(())
    }
}

/// Nanoseconds, displayed as seconds with milliseconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0 / 1_000_000;
        write!(f, "{}.{:03} s", milliseconds / 1_000, milliseconds % 1_000)
    }
}
