//! A program at a terminal of ours, whose size we set and whose keys we press.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use super::process::{LIMIT, pid, wait_for_or};

/// What a program wrote last is read within this time of its end, unless another holds the terminal open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A child whose standard input and output are a terminal.
pub struct Terminal {
    child: Child,
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub fn start(mut command: Command, cols: u16, rows: u16) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("a path");
        tcsetwinsize(&master, size(cols, rows)).expect("a size");
        let open = || File::options().read(true).write(true).open(&name).expect("the other side");
        command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open())).process_group(0);
        let child = command.spawn().expect("it starts");
        // the command keeps handles of the terminal, which would keep it open
        drop(command);
        let master = File::from(master);
        let mut reading = master.try_clone().expect("a second handle");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reading.read(&mut buffer) {
                into.lock().expect("not poisoned").extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, master, seen, reader }
    }

    /// Everything on the screen so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("not poisoned")).into_owned()
    }

    /// The same, byte for byte.
    pub fn bytes(&self) -> Vec<u8> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// How it is set: what a program must leave as it was.
    pub fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.master).expect("a terminal"))
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> &mut Self {
        self.master.write_all(keys.as_bytes()).expect("the terminal is open");
        self
    }

    /// Waits until `words` were shown.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> &mut Self {
        wait_for_or(LIMIT, || self.seen().contains(words).then_some(()), || format!("{words:?} on the terminal:\n{}", self.seen()));
        self
    }

    /// Sets the size, as a person who drags the corner of the window.
    pub fn resize(&mut self, cols: u16, rows: u16) -> &mut Self {
        tcsetwinsize(&self.master, size(cols, rows)).expect("a size");
        kill_process(pid(self.child.id()), Signal::WINCH).expect("it runs");
        self
    }

    /// Sends a signal to the program.
    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        kill_process(pid(self.child.id()), signal).expect("it runs");
        self
    }

    /// Waits for the end, and until all that was written before it is seen.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let screen = Arc::clone(&self.seen);
        let shown = move || String::from_utf8_lossy(&screen.lock().expect("not poisoned")).into_owned();
        let status =
            wait_for_or(LIMIT, || self.child.try_wait().expect("our child"), || format!("the end of a terminal that shows:\n{}", shown()));
        let ended = Instant::now();
        while !self.reader.is_finished() && ended.elapsed() < LAST_WORDS {
            thread::sleep(Duration::from_millis(2));
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = rustix::process::kill_process_group(pid(self.child.id()), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn size(cols: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}
