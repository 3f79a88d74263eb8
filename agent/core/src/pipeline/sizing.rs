//! Hit ratios that a larger session cache or a longer lifetime would reach: for each service with
//! a cache, a simulation of caches of several sizes and lifetimes on a sample of its clients'
//! sessions.
//!
//! # Simulated caches
//!
//! HAProxy (`src/shctx.c`, `sh_ssl_sess_get_cb`), nginx (`ngx_ssl_expire_sessions`), Apache's shmcb
//! (`shmcb_subcache_store`) and OpenSSL's own cache (`SSL_CTX_add_session`), which stunnel and
//! mosquitto use, too, evict the session that was stored first. None of them moves a session when
//! it is used, and a lifetime begins when the session is stored, not when it is used. A full
//! handshake stores a session; below TLS 1.3, a resumed one stores none. In TLS 1.3 without tickets
//! each session is used once and each handshake stores new ones: two after a full handshake, one
//! after a resumed one (`tls_construct_new_session_ticket`).
//!
//! # Distance
//!
//! The distance of a session is the number of sessions that the cache stored after it: a cache of N
//! entries holds the session while its distance is below N. The distance depends on the cache,
//! since each miss stores a session. There is no stack distance that is valid for all sizes, as
//! there is for LRU. Therefore each point of a grid of sizes and lifetimes is a cache of its own
//! (Waldspurger et al., *Cache Modeling and Optimization using Miniature Simulations*, ATC '17),
//! simulated by two numbers per client: the position and the time of its last store.
//!
//! # Sample
//!
//! A *lineage* is the sequence of sessions of one client: when a session is offered and missed, the
//! session that the server issues in its place continues the lineage. The hash of its first session
//! decides whether a lineage is simulated (SHARDS, Waldspurger et al., FAST '15). If there are more
//! than [`MAX_LINEAGES`], those with the highest hashes are removed, and each of the others
//! represents more clients. Hits and misses both are offers of a lineage, so that the prediction
//! does not depend on the present cache.
//!
//! # Missing evidence
//!
//! [`Obstacle`] lists the kinds of missing evidence. All predictions are then withheld: wrong
//! advice is worse than none.

mod advice;
mod analysis;
mod caches;
mod capacity;
mod config_lines;
mod coverage;
mod grid;
mod lineages;
mod spread;
mod table;
mod tickets;
mod verdict;

pub use self::{
    advice::{Advice, Measured, Point},
    analysis::{Analysis, Handshake, Sums},
    config_lines::{ConfigLine, Demand},
    grid::{LIFETIMES_S, SIZES},
    lineages::MAX_LINEAGES,
    spread::{AGE_BOUNDS_S, DISTANCE_BOUNDS, Spread},
    table::{Cost, Service, ServiceHandshake, Services, TicketOffer},
    tickets::Tickets,
    verdict::{Obstacle, Verdict},
};

#[cfg(test)]
mod tests;
