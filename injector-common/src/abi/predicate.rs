use super::record;

/// Most distinct predicates that the rules of a plan have together: a bit each in a word.
pub const PREDICATES_MAX: usize = 64;
/// Predicates whose bits make one coordinate, by which bit vectors are found.
pub const GROUP_LEN: usize = 8;
/// Groups of predicates.
pub const GROUPS_MAX: usize = PREDICATES_MAX / GROUP_LEN;
/// Coordinates of a group.
pub const GROUP_VALUES: usize = 1 << GROUP_LEN;

/// Something that is so or not of a packet: `field & mask` is one of `first..=first + span`.
///
/// Where `span` is not 0, what is compared is below 2^63.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Predicate {
    /// Which number of the packet it is about, see [`field`](crate::field).
    pub field: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
    /// Bits of the field that count.
    pub mask: u64,
    /// The first value.
    pub first: u64,
    /// The last value minus the first.
    pub span: u64,
}
record!(Predicate, size: 32, align: 8);

/// The predicates that the rules of a table look at.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Predicates {
    /// How many there are.
    pub len: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
    /// The fields that they are about, as [`features`](super::features); with them
    /// [`FOLLOW`](super::features::FOLLOW), where later fragments follow the first.
    pub fields: u64,
    /// Seed of what is chosen by flow.
    pub flow_key: u64,
    /// Those. Whether one is so is the bit of its number in [`PacketKey::truths`](crate::wire::PacketKey::truths).
    pub list: [Predicate; PREDICATES_MAX],
}
record!(Predicates, size: 24 + PREDICATES_MAX * 32, align: 8);

impl Predicates {
    /// None at all.
    pub const NONE: Self = Self {
        len: 0,
        reserved: 0,
        fields: 0,
        flow_key: 0,
        list: [Predicate {
            field: 0,
            reserved: 0,
            mask: 0,
            first: 0,
            span: 0,
        }; PREDICATES_MAX],
    };
}
