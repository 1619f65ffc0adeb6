//! Reads what contestants send of their access logs and forgets it, on the processor of the load.

use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

const READ_BYTES: usize = 256 * 1024;

/// Listens until the runtime ends.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; READ_BYTES];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}
