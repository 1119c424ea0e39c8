//! One macro that pins the size of a layout and, for the user side, gives its byte view.

/// Asserts the size of `$type` and, with the feature `user`, adds `SIZE`, `to_bytes` and
/// `from_bytes`. The caller lists every field's size so that hidden padding fails to compile.
macro_rules! layout {
    ($type:ty, $size:literal, [$($field:expr),+ $(,)?]) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
        const _: () = assert!(0 $(+ $field)+ == $size, "padding must be a named field");

        #[cfg(feature = "user")]
        impl $type {
            /// Size in bytes, in memory and in the map.
            pub const SIZE: usize = $size;

            /// The bytes as the kernel programs read them.
            #[must_use]
            pub fn to_bytes(self) -> [u8; $size] {
                // SAFETY: same size, no padding (asserted above), plain integers.
                unsafe { core::mem::transmute::<Self, [u8; $size]>(self) }
            }

            /// The value that these bytes stand for; every bit pattern is one.
            #[must_use]
            pub fn from_bytes(bytes: [u8; $size]) -> Self {
                // SAFETY: same size, plain integers, so every bit pattern is valid.
                unsafe { core::mem::transmute::<[u8; $size], Self>(bytes) }
            }
        }
    };
}

pub(crate) use layout;
