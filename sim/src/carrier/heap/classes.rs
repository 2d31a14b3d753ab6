//! Size classes: how much memory a request is given, so that freed memory fits the next request.
//!
//! Multiples of 16 up to 128, then four classes for each doubling: at most a fifth is wasted. The same steps as
//! jemalloc's (Evans, BSDCan 2006). Pure arithmetic.

/// What `malloc` promises for every type (`alignof(max_align_t)` on x86-64).
pub(super) const QUANTUM: usize = 16;
/// The largest of the classes that step by the quantum.
const LINEAR_MAX: usize = 128;
/// Classes that step by the quantum.
const LINEAR: usize = LINEAR_MAX / QUANTUM;
const PER_DOUBLING: usize = 4;

/// The largest request that a heap serves from its own regions; whatever is larger is mapped by itself.
pub(super) const SMALL_MAX: usize = 1 << 20;
/// How many classes there are up to [`SMALL_MAX`].
pub(super) const SMALL: usize = LINEAR + PER_DOUBLING * (SMALL_MAX / LINEAR_MAX).ilog2() as usize;
/// The largest request at all.
pub(super) const HUGE_MAX: usize = 16 << 30;
/// How many classes there are above [`SMALL_MAX`].
pub(super) const HUGE: usize = PER_DOUBLING * (HUGE_MAX / SMALL_MAX).ilog2() as usize;

/// The smallest class whose size is at least so many bytes. No request of zero bytes: it counts as one.
#[inline]
pub(super) const fn holding(bytes: usize) -> usize {
    if bytes <= LINEAR_MAX {
        return (if bytes == 0 { 1 } else { bytes } - 1) / QUANTUM;
    }
    let last = bytes - 1;
    let doubling = last.ilog2() as usize;
    let quarter = last >> (doubling - 2) & (PER_DOUBLING - 1);
    LINEAR + (doubling - LINEAR_MAX.ilog2() as usize) * PER_DOUBLING + quarter
}

/// A class's size in bytes.
#[inline]
pub(super) const fn bytes_of(class: usize) -> usize {
    if class < LINEAR {
        return (class + 1) * QUANTUM;
    }
    let (doubling, quarter) = ((class - LINEAR) / PER_DOUBLING, (class - LINEAR) % PER_DOUBLING);
    (LINEAR_MAX << doubling) / PER_DOUBLING * (PER_DOUBLING + 1 + quarter)
}

/// The smallest class for so many bytes at a multiple of `alignment`, a power of two: in regions that begin at such a
/// multiple, all slots do when the class's size is one too.
#[inline]
pub(super) fn aligned(bytes: usize, alignment: usize) -> usize {
    if alignment <= QUANTUM {
        return holding(bytes);
    }
    let mut class = holding(bytes.max(alignment));
    while !bytes_of(class).is_multiple_of(alignment) {
        class += 1;
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_holds_what_it_is_chosen_for_and_no_smaller_one_does() {
        for bytes in (1..5000).chain([SMALL_MAX - 1, SMALL_MAX, SMALL_MAX + 1, HUGE_MAX - 1, HUGE_MAX]) {
            let class = holding(bytes);
            assert!(bytes_of(class) >= bytes, "{bytes}");
            assert!(class == 0 || bytes_of(class - 1) < bytes, "{bytes}");
        }
        assert_eq!(holding(0), holding(1));
        assert_eq!((holding(SMALL_MAX), bytes_of(SMALL - 1)), (SMALL - 1, SMALL_MAX));
        assert_eq!(holding(HUGE_MAX), SMALL + HUGE - 1);
    }

    #[test]
    fn aligned_requests_get_classes_whose_size_is_a_multiple() {
        for alignment in (4..=20).map(|shift| 1 << shift) {
            for bytes in [1, 100, 5000, 70_000] {
                let size = bytes_of(aligned(bytes, alignment));
                assert!(size.is_multiple_of(alignment) && size >= bytes, "{bytes} at {alignment}: {size}");
            }
        }
    }
}
