//! What decides a run besides its input.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Clocks, entropy, hash order and the order in which `select!` polls, in one line.
///
/// Different each time on a real machine. On a simulated one, equal for equal seeds, and only then.
pub async fn fingerprint(since: Instant) -> String {
    let elapsed = since.elapsed().as_nanos();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let random: u64 = rand::random();
    let uuid = Uuid::new_v4();
    let hash_order = hash_order();
    let select_order = select_order().await;
    format!("elapsed={elapsed} unix={unix} random={random:016x} uuid={uuid} hash={hash_order} select={select_order}")
}

/// [`fingerprint`] for threads that are in no runtime.
///
/// # Panics
///
/// When the thread is in a runtime.
pub fn fingerprint_blocking(since: Instant) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers asks the system for nothing").block_on(fingerprint(since))
}

/// The order in which a `HashMap` with std's hasher, keyed afresh, holds sixteen keys.
fn hash_order() -> String {
    let map: HashMap<u32, ()> = (0..16).map(|key| (key, ())).collect();
    map.keys().map(|key| format!("{key:x}")).collect()
}

/// Which of four ready branches `select!` takes, eight times.
async fn select_order() -> String {
    let mut taken = String::new();
    for _ in 0..8 {
        taken.push(tokio::select! {
            branch = std::future::ready('a') => branch,
            branch = std::future::ready('b') => branch,
            branch = std::future::ready('c') => branch,
            branch = std::future::ready('d') => branch,
        });
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_covers_every_source_and_differs_each_time() {
        let since = Instant::now();
        let [first, second] = [fingerprint_blocking(since), fingerprint_blocking(since)];
        let fields =
            |line: &str| line.split(' ').map(|field| field.split_once('=').map(|f| f.0.to_owned())).collect::<Vec<_>>();
        assert_eq!(fields(&first), ["elapsed", "unix", "random", "uuid", "hash", "select"].map(|n| Some(n.to_owned())));
        assert_eq!(fields(&second), fields(&first));
        assert_ne!(first, second);
    }
}
