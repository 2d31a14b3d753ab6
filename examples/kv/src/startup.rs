//! The way from fresh to ready: asks the peers how far they are, and does what [`membership`] says.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::membership::{self, Phase, Step};
use crate::replica::Replica;
use crate::version::Entry;

/// How long to wait before the peers are asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Returns when `replica` is ready.
pub(crate) async fn become_ready(replica: Arc<Replica>) {
    while replica.phase() != Phase::Ready {
        match membership::next(replica.phase(), &phases_of_peers(&replica).await) {
            Step::Found => replica.enter(Phase::Founding),
            Step::Serve => replica.enter(Phase::Ready),
            Step::Resync => match snapshots_of_peers(&replica).await {
                Ok(entries) => {
                    info!(entries = entries.len(), "resynchronised");
                    replica.hold_here(entries);
                    replica.enter(Phase::Ready);
                }
                Err(error) => {
                    debug!(%error, "failed to resynchronise");
                    sleep(ASK_AGAIN_AFTER).await;
                }
            },
            Step::Wait => sleep(ASK_AGAIN_AFTER).await,
        }
    }
}

/// What each peer answers; `None` for one that does not.
async fn phases_of_peers(replica: &Replica) -> Vec<Option<Phase>> {
    let peers = replica.links().iter().map(|link| link.peer.clone());
    let asked: JoinSet<_> = peers.map(|peer| async move { peer.phase().await.ok() }).collect();
    asked.join_all().await
}

/// All that all peers hold. Fails unless every one of them is ready.
async fn snapshots_of_peers(replica: &Replica) -> reqwest::Result<Vec<Entry>> {
    let peers = replica.links().iter().map(|link| link.peer.clone());
    let asked: JoinSet<_> = peers.map(|peer| async move { peer.snapshot().await }).collect();
    asked.join_all().await.into_iter().collect::<Result<Vec<_>, _>>().map(|snapshots| snapshots.concat())
}
