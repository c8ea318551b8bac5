//! A verb over SSH: the words after `ssh jit-bastion`, run on the channel they came in.

use std::io;
use std::sync::Arc;

use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::super::Wing;
use super::door::{self, Input, Waiting};
use crate::access::names::Actor;
use crate::broker::Proof;
use crate::verbs::{self, Caller, Happening, Look, Sink};

/// Runs `command` (or shows the personal page without one) and closes the channel with its exit status.
pub(super) async fn run(wing: Arc<Wing>, proof: Proof, waiting: Waiting, command: Option<Vec<u8>>) {
    let Waiting { write, left, input, keys, size, terminal, outer } = waiting;
    let line_end = if terminal.is_some() { LineEnd::Terminal } else { LineEnd::Plain };
    let (out, err) = (Box::pin(write.make_writer()), Box::pin(write.make_writer_ext(Some(1))));
    let mut answer = Answer { out, err, input, keys, size, left, line_end };
    let Some(person) = door::still_known(&wing, &proof).await else {
        let what = if proof.limit().is_some() { "access certificate" } else { "key" };
        let status = written(answer.err(format!("this {what} opens nothing here any more\n").as_bytes()).await, 1);
        finish(&write, status).await;
        return outer.shut();
    };
    let caller = Caller {
        actor: Actor::User(person.user.clone()),
        person: Some(person),
        proof: Some(proof),
        look: Look { columns: terminal.map(|terminal| terminal.columns), color: terminal.is_some_and(|terminal| terminal.color) },
        rows: terminal.map(|terminal| terminal.rows),
    };
    let status = match command {
        Some(command) => verb(&wing, &caller, &command, &mut answer).await,
        None if terminal.is_some() => page(&wing, &caller, &mut answer).await,
        None => usage(&mut answer).await,
    };
    finish(&write, status).await;
    drop(outer);
}

/// Says one thing and closes the channel.
pub(super) async fn say(waiting: Waiting, text: String) {
    let Waiting { write, left, input, keys, size, terminal, outer } = waiting;
    let line_end = if terminal.is_some() { LineEnd::Terminal } else { LineEnd::Plain };
    let (out, err) = (Box::pin(write.make_writer()), Box::pin(write.make_writer_ext(Some(1))));
    let mut answer = Answer { out, err, input, keys, size, left, line_end };
    let status = written(answer.out(text.as_bytes()).await, 0);
    finish(&write, status).await;
    drop(outer);
}

async fn verb(wing: &Wing, caller: &Caller, command: &[u8], answer: &mut Answer) -> u8 {
    let Ok(line) = std::str::from_utf8(command) else { return usage(answer).await };
    match verbs::from_line(line, caller.look.columns) {
        Ok(parsed) => verbs::run(&wing.broker, caller, &parsed, answer).await,
        Err(wrong) => verbs::wrong_usage(&wrong, answer).await,
    }
}

async fn page(wing: &Wing, caller: &Caller, answer: &mut Answer) -> u8 {
    let (text, status) = match verbs::page::page(&wing.broker, caller).await {
        Ok(text) => (text, 0),
        Err(crate::broker::Error::Refused(refusal)) => (format!("{refusal}\n"), 1),
        Err(crate::broker::Error::Fault(fault)) => (format!("{fault}\n"), 70),
    };
    written(answer.out(text.as_bytes()).await, status)
}

async fn usage(answer: &mut Answer) -> u8 {
    written(answer.err(b"there is no shell here; `ssh jit-bastion help` lists the words\n").await, 2)
}

/// Nobody reads the status of an answer that nobody could be given.
fn written(written: io::Result<()>, status: u8) -> u8 {
    written.map_or(1, |()| status)
}

/// Exit status, end, close. The connection may be gone by then, and with it whoever would read them.
async fn finish(write: &ChannelWriteHalf<Msg>, status: u8) {
    let _ = write.exit_status(u32::from(status)).await;
    let _ = write.eof().await;
    let _ = write.close().await;
}

enum LineEnd {
    Plain,
    /// The client's terminal is raw: a line feed alone goes straight down.
    Terminal,
}

/// The caller's end of the channel.
struct Answer {
    out: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
    err: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
    input: watch::Receiver<Input>,
    keys: mpsc::Receiver<Vec<u8>>,
    size: watch::Receiver<(u16, u16)>,
    left: watch::Receiver<bool>,
    line_end: LineEnd,
}

impl Answer {
    fn ended(&self, bytes: &[u8]) -> Vec<u8> {
        match self.line_end {
            LineEnd::Plain => bytes.to_vec(),
            LineEnd::Terminal => {
                let mut last = 0;
                let mut ended = Vec::with_capacity(bytes.len() + bytes.len() / 32);
                for byte in bytes {
                    if *byte == b'\n' && last != b'\r' {
                        ended.push(b'\r');
                    }
                    ended.push(*byte);
                    last = *byte;
                }
                ended
            }
        }
    }
}

impl Sink for Answer {
    fn out<'a>(&'a mut self, bytes: &'a [u8]) -> verbs::Waiting<'a, io::Result<()>> {
        Box::pin(async move {
            let bytes = self.ended(bytes);
            self.out.write_all(&bytes).await
        })
    }

    fn err<'a>(&'a mut self, bytes: &'a [u8]) -> verbs::Waiting<'a, io::Result<()>> {
        Box::pin(async move {
            let bytes = self.ended(bytes);
            self.err.write_all(&bytes).await
        })
    }

    fn input(&mut self, most: usize) -> verbs::Waiting<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let gone = || io::Error::other("the connection ended before it did");
            let whole = self.input.wait_for(|input| input.ended || input.bytes.len() > most).await.map_err(|_| gone())?;
            verbs::sink::within(most, whole.bytes.clone())
        })
    }

    fn closed(&mut self) -> verbs::Waiting<'_, ()> {
        Box::pin(async move {
            // The sender goes when the channel is gone: that is leaving too.
            let _ = self.left.wait_for(|left| *left).await;
        })
    }

    fn happening(&mut self) -> verbs::Waiting<'_, Happening> {
        Box::pin(async move {
            tokio::select! {
                typed = self.keys.recv() => typed.map_or(Happening::Ended, Happening::Typed),
                Ok(()) = self.size.changed() => {
                    let (columns, rows) = *self.size.borrow_and_update();
                    Happening::Resized { columns, rows }
                }
            }
        })
    }
}
