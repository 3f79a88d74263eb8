//! `ALL` and `label` of enums whose variants are label values.

/// Adds the array of all variants and the label of each.
macro_rules! labelled {
    ($type:ty) => {
        impl $type {
            /// Every variant, in declaration order, which is also the order of their index.
            pub const ALL: [Self; <Self as strum::VariantArray>::VARIANTS.len()] =
                match <Self as strum::VariantArray>::VARIANTS.first_chunk() {
                    Some(all) => *all,
                    None => unreachable!(),
                };

            /// Label value.
            #[must_use]
            pub fn label(self) -> &'static str {
                self.into()
            }
        }
    };
}

pub(super) use labelled;
