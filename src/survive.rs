//! A panic is a bug: it is counted and told once, and ends what it happened in, no more.

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::Poll;

/// Counts every panic of the process from now on, and tells of it in the error log, once and in one
/// line.
pub fn tell_of_panics(count: impl Fn() + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        count();
        let said = panic.payload_as_str().unwrap_or("nothing that can be read");
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        tracing::error!(said, at, thread, "a panic: this is a bug in Brim, please report it");
    }));
}

/// What the work comes to; `None` if it panicked. Whatever it held is dropped then, so nothing that
/// others still use may be half changed while somebody waits in it.
pub async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    #[tokio::test]
    async fn a_panic_ends_only_the_work_that_it_happens_in_and_is_counted() {
        let panics = Arc::new(AtomicU64::new(0));
        let counted = panics.clone();
        let before = panic::take_hook();
        let own = std::thread::current().id();
        // Tests that run beside this one in the same process have panics of their own.
        tell_of_panics(move || {
            counted.fetch_add(u64::from(std::thread::current().id() == own), Ordering::Relaxed);
        });
        let held = Arc::new(Mutex::new(Some("held")));
        let taken = held.clone();
        let work = async move {
            tokio::task::yield_now().await;
            let mut _taken = taken.lock().expect("nobody panicked before");
            panic!("on purpose, number {}", 1);
        };
        assert_eq!(caught(work).await, None::<()>);
        assert_eq!(caught(async { tokio::task::yield_now().await }).await, Some(()));
        assert_eq!(panics.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&held), 1, "what it held is dropped");
        assert_eq!(*held.lock().unwrap_or_else(PoisonError::into_inner), Some("held"));
        panic::set_hook(before);
    }
}
