//! Semaphores whose size changes while some of their permits are taken.

use std::sync::Arc;
use tokio::sync::Semaphore;

/// A semaphore with so many permits, or as many as there can be.
pub fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

/// Gives a semaphore of so many permits this many. Those that are taken and too many go when they come
/// back, before anybody else gets one. Within a runtime.
pub fn resize(semaphore: &Arc<Semaphore>, before: usize, now: usize) {
    let (before, now) = (before.min(Semaphore::MAX_PERMITS), now.min(Semaphore::MAX_PERMITS));
    if now >= before {
        return semaphore.add_permits(now - before);
    }
    let too_many = before - now;
    let taken = too_many - semaphore.forget_permits(too_many);
    if taken > 0 {
        let semaphore = semaphore.clone();
        tokio::spawn(async move {
            for _ in 0..taken {
                // It is never closed.
                let Ok(permit) = semaphore.acquire().await else { return };
                permit.forget();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_taken_and_too_many_goes_when_it_comes_back() {
        let places = semaphore(3);
        let taken: Vec<_> =
            (0..3).map(|_| places.clone().try_acquire_owned().expect("a place")).collect();
        resize(&places, 3, 1);
        tokio::task::yield_now().await;
        let mut taken = taken.into_iter();
        for _ in 0..2 {
            drop(taken.next());
            tokio::task::yield_now().await;
            assert!(places.try_acquire().is_err());
        }
        drop(taken.next());
        tokio::task::yield_now().await;
        assert_eq!(places.available_permits(), 1);
        resize(&places, 1, usize::MAX);
        assert_eq!(places.available_permits(), Semaphore::MAX_PERMITS);
        resize(&places, usize::MAX, 2);
        assert_eq!(places.available_permits(), 2);
    }
}
