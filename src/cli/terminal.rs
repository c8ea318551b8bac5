//! The terminal that this program runs in: keys one by one while something is played there, and afterwards as it was before, also when a
//! signal ends it or we break.

use std::fs::File;
use std::io::{self, Read, Stdin, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver as Queue, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::recording::deck::LEAVE;
use crate::verbs::{Happening, Sink, Waiting, sink};

/// Keys are read in pieces of this.
const KEYS: usize = 1024;
/// Pieces of keys that wait; then the terminal keeps them.
const TYPED_AHEAD: usize = 16;
/// After a signal the last words may take so long: a terminal that was stopped takes none.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What Ctrl-C types.
const CTRL_C: u8 = 3;

/// A terminal in which keys come one by one.
pub(super) struct Terminal {
    raw: Option<Raw>,
    /// None where nothing more is typed.
    keys: Option<mpsc::Receiver<Vec<u8>>>,
    screen: SyncSender<(Vec<u8>, Written)>,
    ends: Ends,
    resized: Signal,
    continued: Signal,
}

/// Told when it was written.
type Written = oneshot::Sender<io::Result<()>>;

impl Terminal {
    /// Standard output must be a terminal. Where standard input is none there are no keys. To be called inside of a runtime.
    pub fn enter() -> io::Result<Self> {
        let (ends, resized) = (Ends::catch()?, signal(SignalKind::window_change())?);
        let continued = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let raw = Raw::enter();
        let keys = if raw.is_some() { Some(keys()?) } else { None };
        let (screen, queue) = sync_channel(1);
        // What is written to a terminal may stand still for as long as its reader likes.
        thread::Builder::new().name("screen".into()).spawn(move || written(&queue))?;
        Ok(Self { raw, keys, screen, ends, resized, continued })
    }

    /// Columns and rows; a terminal that does not know is taken as 80 by 24.
    #[expect(clippy::unused_self, reason = "who asks is in it")]
    pub fn size(&self) -> Option<(u16, u16)> {
        Some(size().unwrap_or((80, 24)))
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let (told, written) = oneshot::channel();
        self.screen.try_send((bytes, told)).map_err(|_| io::ErrorKind::WouldBlock)?;
        let ends = &mut self.ends;
        let patience = async {
            ends.fell().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            biased;
            done = written => done.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
            () = patience => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    async fn next(&mut self) -> Happening {
        loop {
            let Some(keys) = &mut self.keys else { return Happening::Ended };
            tokio::select! {
                biased;
                () = self.ends.fell() => return Happening::Typed(vec![CTRL_C]),
                Some(()) = self.resized.recv() => {}
                // A shell that had stopped us has set the terminal to its own taste, and has written on the screen.
                Some(()) = self.continued.recv() => self.raw.iter().for_each(Raw::again),
                typed = keys.recv() => match typed {
                    Some(typed) => return Happening::Typed(typed),
                    None => {
                        self.keys = None;
                        return Happening::Ended;
                    }
                },
            }
            if let Some((columns, rows)) = size() {
                return Happening::Resized { columns, rows };
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody else gives the viewer's own screen back.
            let _ = io::stdout().write_all(LEAVE);
        }
    }
}

impl Sink for Terminal {
    fn out<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        Box::pin(self.write(bytes.to_vec()))
    }

    fn err<'a>(&'a mut self, bytes: &'a [u8]) -> Waiting<'a, io::Result<()>> {
        Box::pin(async move { io::stderr().lock().write_all(bytes) })
    }

    fn input(&mut self, most: usize) -> Waiting<'_, io::Result<Vec<u8>>> {
        // What is played asks for none.
        Box::pin(std::future::ready(sink::within(most, Vec::new())))
    }

    fn closed(&mut self) -> Waiting<'_, ()> {
        Box::pin(self.ends.fell())
    }

    fn happening(&mut self) -> Waiting<'_, Happening> {
        Box::pin(self.next())
    }
}

/// Standard input, key by key. As it was again when this goes.
struct Raw {
    input: Stdin,
    before: Termios,
    raw: Termios,
}

impl Raw {
    /// None where standard input is no terminal, or is not ours.
    fn enter() -> Option<Self> {
        let input = io::stdin();
        let before = tcgetattr(&input).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // Lines of ours end as they do everywhere else.
        raw.output_modes = before.output_modes;
        let entered = Self { input, before, raw };
        entered.again();
        Some(entered)
    }

    fn again(&self) {
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.raw);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Not when all is written: that may be never.
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.before);
    }
}

/// Signals with which somebody wants an end of it.
struct Ends {
    signals: [Signal; 4],
    fell: bool,
}

impl Ends {
    fn catch() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let [int, term, hup, quit] = kinds.map(signal);
        Ok(Self { signals: [int?, term?, hup?, quit?], fell: false })
    }

    /// Comes back when one has come, from then on at once.
    async fn fell(&mut self) {
        if !self.fell {
            let [int, term, hup, quit] = &mut self.signals;
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
                _ = quit.recv() => {}
            }
        }
        self.fell = true;
    }
}

/// What is typed, as it comes.
fn keys() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (typed, keys) = mpsc::channel(TYPED_AHEAD);
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let read = move || {
        let mut buffer = [0; KEYS];
        while let Ok(n @ 1..) = input.read(&mut buffer) {
            if typed.blocking_send(buffer.get(..n).unwrap_or_default().to_vec()).is_err() {
                break;
            }
        }
    };
    // It waits for keys until the program ends, and nobody waits for it.
    thread::Builder::new().name("keys".into()).spawn(read)?;
    Ok(keys)
}

/// Writes to the screen, until nobody has anything more to write.
fn written(queue: &Queue<(Vec<u8>, Written)>) {
    while let Ok((bytes, told)) = queue.recv() {
        let mut screen = io::stdout().lock();
        let done = screen.write_all(&bytes).and_then(|()| screen.flush());
        drop(screen);
        // Who has given up on it asks no more.
        let _ = told.send(done);
    }
}

fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some((size.ws_col, size.ws_row)).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}
