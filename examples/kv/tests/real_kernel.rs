//! The service as ordinary processes: what it promises holds on the real kernel, and so does its
//! bug.

mod processes;

use kv::client::Error;
use processes::Cluster;

/// What is written through one replica is read through all.
#[tokio::test]
async fn every_replica_serves_every_key() {
    let cluster = Cluster::start("majority").await;
    for writer in 0..3 {
        let (key, value) = (format!("key {writer}/ü"), format!("value {writer}"));
        cluster.client(writer).put(&key, &value).await.expect("acknowledged");
        for reader in 0..3 {
            assert_eq!(cluster.client(reader).get(&key).await.expect("readable").as_ref(), Some(&value));
        }
    }
    assert_eq!(cluster.client(0).get("never written").await.expect("readable"), None);
}

/// Each replica in turn loses its memory; nothing acknowledged is ever missing, and overwriting
/// goes on.
#[tokio::test]
async fn acknowledged_writes_survive_crashes_one_at_a_time() {
    let mut cluster = Cluster::start("majority").await;
    for (round, crashed) in [0, 1, 2, 0].into_iter().enumerate() {
        let through = cluster.client(crashed);
        for key in 0..20 {
            through.put(&key.to_string(), round.to_string()).await.expect("acknowledged");
        }
        cluster.crash(crashed);
        let survivor = cluster.client((crashed + 1) % 3);
        for key in 0..20 {
            assert_eq!(survivor.get(&key.to_string()).await.expect("readable"), Some(round.to_string()));
        }
        cluster.restart(crashed);
        cluster.ready(crashed).await;
    }
}

/// A majority is enough to write and to read; less is not, and says so.
#[tokio::test]
async fn one_replica_alone_acknowledges_nothing() {
    let cluster = Cluster::start("majority").await;
    cluster.pause(1);
    cluster.client(0).put("k", "with one away").await.expect("acknowledged");
    cluster.pause(2);
    let refusal = cluster.client(0).put("k", "alone").await.expect_err("no majority");
    assert!(matches!(refusal, Error::Refused { status, .. } if status == 504), "{refusal}");
    cluster.resume(1);
    cluster.resume(2);
    assert!(cluster.client(2).get("k").await.expect("readable").is_some());
}

/// The planted bug, and that the other setting is free of it: acknowledged, crashed, forgotten.
#[tokio::test]
async fn a_local_write_is_lost_with_its_coordinator() {
    let mut cluster = Cluster::start("local").await;
    cluster.pause(1);
    cluster.pause(2);
    cluster.client(0).put("k", "v").await.expect("acknowledged, by this replica alone");
    cluster.crash(0);
    cluster.resume(1);
    cluster.resume(2);
    cluster.restart(0);
    cluster.ready(0).await;
    assert_eq!(cluster.client(0).get("k").await.expect("readable"), None);
}

/// A local write reaches the peers in the background, so a replica that may finish loses nothing.
#[tokio::test]
async fn a_stopped_replica_hands_over_its_writes_and_exits_successfully() {
    let mut cluster = Cluster::start("local").await;
    cluster.pause(1);
    cluster.pause(2);
    cluster.client(0).put("k", "v").await.expect("acknowledged, by this replica alone");
    cluster.terminate(0);
    cluster.resume(1);
    cluster.resume(2);
    assert!(cluster.exit_status(0).success());
    assert_eq!(cluster.client(1).get("k").await.expect("readable").as_deref(), Some("v"));
}

/// What a replica has lost it must get back from all its peers before it serves.
#[tokio::test]
async fn a_fresh_replica_is_not_ready_while_a_peer_is_away() {
    let mut cluster = Cluster::start("majority").await;
    cluster.crash(0);
    cluster.pause(2);
    cluster.restart(0);
    let unready = loop {
        match cluster.client(0).put("k", "v").await {
            Err(Error::Transport(_)) => tokio::task::yield_now().await,
            answered => break answered.expect_err("not ready"),
        }
    };
    assert!(matches!(unready, Error::Refused { status, .. } if status == 503), "{unready}");
    cluster.resume(2);
    cluster.ready(0).await;
}

/// Operators see requests and readiness.
#[tokio::test]
async fn metrics_count_requests_by_outcome() {
    let cluster = Cluster::start("majority").await;
    cluster.client(0).put("k", "v").await.expect("acknowledged");
    let metrics = cluster.get_text(0, "/metrics").await.expect("served");
    for line in ["kv_request_seconds_count{operation=\"write\",outcome=\"ok\"} 1", "kv_ready 1", "kv_keys 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line:?} is missing in\n{metrics}");
    }
}
