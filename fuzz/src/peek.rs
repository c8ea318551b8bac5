//! The first words of a client that says anything and hangs up.

use std::time::Duration;

use jit_bastion::ssh::peek::{Peeked, Unseen, peek};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

pub const ALL: &[super::Target] = &[("peek", peek_at)];

/// What is handed on is exactly what was said.
pub fn peek_at(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = duplex(data.len() + 256);
        client.write_all(data).await.unwrap();
        client.shutdown().await.unwrap();
        match peek(server, "SSH-2.0-ours", Duration::from_secs(5)).await {
            Ok(Peeked { mut stream, client_id, .. }) => {
                assert!(client_id.len() < 255 && !client_id.contains(|c: char| c.is_control()));
                stream.write_all(b"SSH-2.0-ours\r\n").await.unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, data);
            }
            Err(Unseen::Late(_)) => panic!("all was said"),
            Err(Unseen::Garbage(_) | Unseen::Gone(_)) => {}
        }
    });
}
