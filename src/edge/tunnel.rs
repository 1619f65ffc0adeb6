//! An upgraded connection: bytes in both directions until both sides are done or silent.

use crate::transport::{Patience, Reader, Writer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One side of the tunnel.
pub(super) type Side<'a> = (&'a mut Reader, &'a mut Writer);

/// Carries bytes, those already received first, until both sides have closed, one of them broke,
/// or nothing moved for `idle_timeout`.
pub(super) async fn run(client: Side<'_>, origin: Side<'_>, idle_timeout: Duration) {
    // Only silence in both directions ends a tunnel: a side that takes nothing for a while may be
    // sending meanwhile.
    client.1.patience = Patience::endless();
    origin.1.patience = Patience::endless();
    let moved = LastMove { start: Instant::now(), at_ms: AtomicU64::new(0) };
    let both = async {
        tokio::try_join!(one_way(client.0, origin.1, &moved), one_way(origin.0, client.1, &moved))
    };
    tokio::select! {
        _ = both => {}
        () = moved.is_over(idle_timeout) => {}
    }
}

async fn one_way(from: &mut Reader, to: &mut Writer, moved: &LastMove) -> Result<(), Broken> {
    loop {
        if !from.buf.is_empty() {
            let data = from.buf.split();
            to.write(&[&data]).await.map_err(|_| Broken)?;
            moved.now();
        }
        if from.fill(Duration::MAX).await.map_err(|_| Broken)? == 0 {
            to.shutdown().await;
            return Ok(());
        }
        moved.now();
    }
}

/// One side is gone: there is nobody left to tell why.
struct Broken;

/// When bytes last moved, in either direction.
struct LastMove {
    start: Instant,
    at_ms: AtomicU64,
}

impl LastMove {
    fn now(&self) {
        let elapsed = self.start.elapsed().as_millis();
        self.at_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    async fn is_over(&self, idle_timeout: Duration) {
        loop {
            let last = Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
            let idle = self.start.elapsed().saturating_sub(last);
            let Some(left) = idle_timeout.checked_sub(idle).filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::time::sleep(left).await;
        }
    }
}
