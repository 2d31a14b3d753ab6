//! Making a sequence that differs small.

/// Drops parts of a list, halves first and single entries last, as long as `fails` holds.
pub fn shrink<T: Copy>(list: &[T], fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut list = list.to_vec();
    let mut part = list.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < list.len() {
            let end = (at + part).min(list.len());
            let without: Vec<T> = list[..at].iter().chain(&list[end..]).copied().collect();
            if fails(&without) {
                list = without;
            } else {
                at = end;
            }
        }
        part /= 2;
    }
    list
}

#[test]
fn what_matters_stays() {
    let list: Vec<u32> = (0..40).collect();
    assert_eq!(shrink(&list, |list| list.contains(&7) && list.contains(&31)), [7, 31]);
}
