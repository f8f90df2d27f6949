//! Old pushes go: so long after it was made, a push that is over is deleted with its deliveries and their steps. A few
//! rows a transaction, one transaction at a time, with a rest between two, so that pushes never wait for it. Which
//! pushes are over is the book's to say; what it does not hold and nobody makes any more has come to its end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::Clock;
use contract::store::StoreError;
use model::{PushId, UnixMs, limits};
use tokio::sync::oneshot;

use crate::Push;
use crate::actor::Command;

/// How often it is looked for old ones. They have waited for months.
const LOOKED_FOR_EVERY: Duration = Duration::from_secs(3600);
/// How long after the start: a storm of logins comes first.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// Pushes looked at in one go.
const STEP: usize = 256;
/// The rest between two transactions: the disk is the others' for most of the time.
const REST: Duration = Duration::from_millis(20);

impl Push {
    /// Deletes what was made before a moment and is over. How many pushes that were.
    pub async fn prune(&self, before: UnixMs) -> Result<u64, StoreError> {
        let (mut pruned, mut after) = (0, None);
        loop {
            let old = self.store.old_pushes(before, after, STEP).await?;
            let Some(last) = old.last().copied() else { return Ok(pruned) };
            after = Some(last);
            let over = self.over(old.into_iter().map(|(_, push)| push).collect()).await?;
            // What the book has decided is on disk before the row is gone that it was decided about.
            self.flush().await;
            let mut rest = over;
            while !rest.is_empty() {
                let (deleted, left) = self.store.prune_pushes(rest, limits::PUSH_PRUNE_ROWS_MAX).await?;
                pruned += deleted;
                rest = left;
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Those of some pushes that nothing is to happen to any more.
    async fn over(&self, pushes: Vec<PushId>) -> Result<Vec<PushId>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Over { pushes, reply });
        answer.await.map_err(|_| StoreError::Closed)
    }

    /// Prunes from now on whatever is older than so many days, until the room is gone. 0 keeps everything.
    pub fn keep_for(self: &Arc<Push>, days: u32, clock: Arc<dyn Clock>) {
        if days > 0 {
            tokio::spawn(prune_again_and_again(Arc::downgrade(self), i64::from(days) * 24 * 3600, clock));
        }
    }
}

async fn prune_again_and_again(room: Weak<Push>, keep_s: i64, clock: Arc<dyn Clock>) {
    // A device may answer for a while after its push was delivered.
    let keep_ms = keep_s.max(limits::ANSWER_S_MAX as i64) * 1000;
    let mut rest = FIRST_LOOK;
    loop {
        tokio::time::sleep(rest).await;
        rest = LOOKED_FOR_EVERY;
        let Some(room) = room.upgrade() else { return };
        match room.prune(UnixMs(clock.unix().0 - keep_ms)).await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(pushes = pruned, "old pushes are deleted"),
            Err(StoreError::Closed) => return,
            // Nothing is written any more, and the store has said so once.
            Err(StoreError::Disk(_)) => {}
            Err(error) => tracing::warn!(%error, "old pushes could not be deleted; it is tried again in an hour"),
        }
    }
}
