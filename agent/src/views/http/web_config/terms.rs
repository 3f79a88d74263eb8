//! Access rules of a file, ready for use.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use tokio_rustls::TlsAcceptor;

use super::users::Users;

/// Access rules of a file.
pub(in crate::views::http) struct Terms {
    /// TLS configuration; `None` for plain HTTP.
    pub(in crate::views::http) tls: Option<TlsAcceptor>,
    /// Subject names of which a client certificate must have one; any certificate if empty.
    pub(in crate::views::http) sans: Vec<String>,
    /// Users that are admitted; everybody if empty.
    pub(in crate::views::http) users: Users,
    /// Headers to add to every response.
    pub(in crate::views::http) headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
