//! Real programs as children: what they print is collected while they run, every wait has an end, and they die with their handle.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long anything may take that is not itself a measurement. Generous: only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What a program did.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status; None if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test unless the status is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code == Some(code), "status {code} was expected: {}", self.told());
        self
    }

    /// Fails the test unless standard error holds `words`.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} was expected on standard error: {}", self.told());
        self
    }

    /// Everything, short enough for a failing test.
    pub fn told(&self) -> String {
        let text = self.text();
        let cut: String = text.chars().take(2000).collect();
        format!(
            "status {:?} signal {:?}\n-- stdout ({} bytes)\n{cut}\n-- stderr\n{}",
            self.code,
            self.signal,
            self.stdout.len(),
            self.stderr
        )
    }
}

/// Where a child's standard output goes.
pub enum Out {
    /// Collected.
    Collect,
    /// Into this file.
    File(File),
    /// Nowhere: the pipe is held open and never read, as by a client that has stalled.
    Stall,
    /// Counted and dropped.
    Count,
}

/// A child that runs. Dropping it kills it with its whole group.
pub struct Running {
    child: Child,
    /// What was run, for messages.
    name: String,
    stdin: Option<ChildStdin>,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    count: Arc<Mutex<u64>>,
    readers: Vec<thread::JoinHandle<()>>,
    _stalled: Option<std::process::ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command, out: Out) -> Self {
        let name = format!("{command:?}");
        let collect = !matches!(out, Out::File(_));
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        match out {
            Out::File(ref file) => command.stdout(file.try_clone().expect("a second handle")),
            _ => command.stdout(Stdio::piped()),
        };
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
        let (stdout, stderr, count) = (Arc::default(), Arc::default(), Arc::new(Mutex::new(0)));
        let mut readers = vec![collector(child.stderr.take().expect("piped"), Arc::clone(&stderr))];
        let mut stalled = None;
        let pipe = collect.then(|| child.stdout.take().expect("piped"));
        match (out, pipe) {
            (Out::Collect, Some(pipe)) => readers.push(collector(pipe, Arc::clone(&stdout))),
            (Out::Count, Some(pipe)) => readers.push(counter(pipe, Arc::clone(&count))),
            (_, pipe) => stalled = pipe,
        }
        let stdin = child.stdin.take();
        Self { child, name, stdin, stdout, stderr, count, readers, _stalled: stalled }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command and what it has printed so far.
    pub fn told(&self) -> String {
        format!("{}\n-- stdout\n{}\n-- stderr\n{}", self.name, String::from_utf8_lossy(&self.seen()), self.errors())
    }

    /// Standard output so far.
    pub fn seen(&self) -> Vec<u8> {
        self.stdout.lock().expect("not poisoned").clone()
    }

    /// Standard error so far.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().expect("not poisoned")).into_owned()
    }

    /// Bytes of standard output so far, with [`Out::Count`].
    pub fn counted(&self) -> u64 {
        *self.count.lock().expect("not poisoned")
    }

    /// Waits until standard output holds `words`.
    #[track_caller]
    pub fn until(&self, words: &str) -> &Self {
        let holds = || String::from_utf8_lossy(&self.seen()).contains(words).then_some(());
        wait_for_or(LIMIT, holds, || format!("{words:?} from {}", self.told()));
        self
    }

    /// Waits until standard error holds `words`.
    #[track_caller]
    pub fn until_error(&self, words: &str) -> &Self {
        wait_for_or(LIMIT, || self.errors().contains(words).then_some(()), || format!("{words:?} on stderr of {}", self.told()));
        self
    }

    /// Types `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> &mut Self {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the program reads");
        self
    }

    /// Standard input, to be written from elsewhere.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("standard input is open")
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) -> &mut Self {
        self.stdin = None;
        self
    }

    /// Signals the whole group.
    pub fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(pid(self.pid()), signal);
    }

    /// Signals the program alone.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(pid(self.pid()), signal);
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_some()
    }

    /// Waits for its end, at most [`LIMIT`]. Standard input is closed first.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        self.stdin = None;
        self.finish()
    }

    /// Waits for its end with standard input left open.
    #[track_caller]
    pub fn finish(&mut self) -> Output {
        let end = Instant::now() + LIMIT;
        let status = loop {
            match self.child.try_wait().expect("our child") {
                Some(status) => break status,
                None if Instant::now() > end => panic!("still running after {LIMIT:?}: {}", self.told()),
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        // a multiplexing master may keep the pipes; what it prints is not ours
        for reader in self.readers.drain(..) {
            let end = Instant::now() + Duration::from_secs(5);
            while !reader.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_millis(2));
            }
        }
        Output { code: status.code(), signal: status.signal(), stdout: self.seen(), stderr: self.errors() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal_group(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn collector(mut pipe: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            into.lock().expect("not poisoned").extend_from_slice(&buffer[..n]);
        }
    })
}

fn counter(mut pipe: impl Read + Send + 'static, into: Arc<Mutex<u64>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            *into.lock().expect("not poisoned") += n as u64;
        }
    })
}

/// Runs a program to its end with `input`.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut running = Running::start(command, Out::Collect);
    let mut stdin = running.take_stdin();
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = running.finish();
    writer.join().expect("the writer ends with the program");
    output
}

/// Waits until `there` gives something; fails with `what` after [`LIMIT`].
#[track_caller]
pub fn wait_for<T>(what: &str, there: impl FnMut() -> Option<T>) -> T {
    wait_for_or(LIMIT, there, || what.to_string())
}

/// The same with a limit and a reason that is made only when it failed.
#[track_caller]
pub fn wait_for_or<T>(limit: Duration, mut there: impl FnMut() -> Option<T>, what: impl FnOnce() -> String) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {}", what());
        thread::sleep(Duration::from_millis(10));
    }
}

/// A process id as rustix wants it.
pub fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id")).expect("not zero")
}

/// Every process: its id, its parent's, and its command line.
pub fn processes() -> Vec<(u32, u32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).and_then(|p| p.parse().ok());
        all.push((id, parent.unwrap_or(0), String::from_utf8_lossy(&line).replace('\0', " ")));
    }
    all
}

/// All children of `root`, and theirs.
pub fn descendants(root: u32) -> Vec<u32> {
    let all = processes();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|p| p.1 == parent).map(|p| p.0));
        at += 1;
    }
    found.remove(0);
    found
}

/// Processes that stand still until this is dropped.
pub struct Stopped(Vec<u32>);

impl Stopped {
    pub fn stop(which: Vec<u32>) -> Self {
        for id in &which {
            let _ = kill_process(pid(*id), Signal::STOP);
        }
        Self(which)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for id in &self.0 {
            let _ = kill_process(pid(*id), Signal::CONT);
        }
    }
}

/// User and system time of a process and its ended children, in seconds.
pub fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(") ").next().unwrap_or("").split(' ').map(|f| f.parse().unwrap_or(0.0)).collect();
    fields.get(11..15).map_or(0.0, |times| times.iter().sum::<f64>()) / 100.0
}
