//! A proxy whose connections can be cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy before a store whose connections can be cut.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a free port that leads to `target`.
    pub async fn to(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", super::free_port()?)).await?;
        let address = listener.local_addr()?;
        let open = Arc::new(watch::Sender::new(true));
        let task = tokio::spawn(serve(listener, target, Arc::clone(&open)));
        Ok(Self { address, open, task })
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Ends every connection and refuses new ones until [`Proxy::mend`].
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.open.send_replace(false);
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, open: Arc<watch::Sender<bool>>) {
    while let Ok((mut inward, _)) = listener.accept().await {
        if !*open.borrow() {
            continue;
        }
        let (target, mut open) = (target.clone(), open.subscribe());
        tokio::spawn(async move {
            let Ok(mut outward) = tokio::net::TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut inward, &mut outward) => {}
                _ = open.wait_for(|open| !*open) => {}
            }
        });
    }
}
