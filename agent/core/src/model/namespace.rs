//! Network namespace of a connection.

/// Network namespace. Equal addresses in two namespaces are two different ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NetworkNamespace {
    /// Not known: the kernel does not show it, or the recording was made before it was read.
    #[default]
    Unknown,
    /// It belongs to the initial user namespace, so that only a privileged process can have created
    /// it: the host's own, and those of most containers and pods.
    Privileged(u32),
    /// It belongs to another user namespace, which any user can create, and with it a network of
    /// any addresses.
    User(u32),
}
