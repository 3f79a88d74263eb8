//! Links in `/proc` that name a kernel object by its inode number.

use std::path::Path;

/// The inode number in a link such as `net:[4026531840]` or `socket:[12345]`.
pub(super) fn inode_of(link: &Path) -> Option<u64> {
    let text = link.to_str()?;
    text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_brackets_is_found() {
        let inode = |link: &str| inode_of(Path::new(link));
        assert_eq!(inode("pid:[4026531836]"), Some(0xEFFF_FFFC));
        assert_eq!(inode("pid:[x]"), None);
        assert_eq!(inode("rubbish"), None);
    }
}
