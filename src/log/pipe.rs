//! The queue between those who log and the one thread that writes.
//!
//! slog-async is not used for it: it stamps a line when it is written rather than when it is logged,
//! reports drops only with the next line that is logged (and with that line's fields), and waits
//! without limit at the end.

use std::{
    convert::Infallible,
    io::{self, ErrorKind, Write},
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError},
    },
    thread,
    time::Duration,
};

use slog::{Level, OwnedKVList};

use crate::log::{Event, Form};

/// Writes out what is queued when it is dropped, and waits for that a limited time.
#[must_use = "dropping the guard ends the log"]
#[derive(Debug)]
pub struct Guard {
    lines: SyncSender<Vec<u8>>,
    ending: Arc<AtomicBool>,
    /// Nothing is ever sent: that it ends is the news.
    written: Receiver<Infallible>,
}

/// The writing end; cheap to clone, never waits.
#[derive(Clone)]
pub(super) struct Queue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

struct Writer<W> {
    sink: W,
    form: Form,
    lines: Receiver<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    /// A write failed in the middle of a line: the next one has to begin with a line end.
    broken: bool,
}

/// Starts the thread that writes to the sink, behind a queue of so many lines.
pub(super) fn open(
    form: Form,
    capacity: usize,
    sink: impl Write + Send + 'static,
) -> (Queue, Guard) {
    let (lines, queued) = mpsc::sync_channel(capacity.max(1));
    let (alive, written) = mpsc::channel();
    let (dropped, ending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writer = Writer {
        sink,
        form,
        lines: queued,
        dropped: dropped.clone(),
        ending: ending.clone(),
        broken: false,
    };
    let started = thread::Builder::new().name("log".to_owned()).spawn(move || {
        writer.run();
        drop(alive);
    });
    // Without a thread the receiver is gone and every line is refused: a program that cannot have one
    // thread more is about to say so in a better place than here.
    drop(started);
    (Queue { lines: lines.clone(), dropped }, Guard { lines, ending, written })
}

// === impl Queue ===

impl Queue {
    /// Queues a line, or counts it as dropped.
    pub(super) fn push(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// slog asks for these. They hold: a panic in the middle of `push` leaves at most one line uncounted.
impl UnwindSafe for Queue {}
impl RefUnwindSafe for Queue {}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // An empty line wakes a writer that waits for one; with a full queue it is not waiting.
        let _ = self.lines.try_send(Vec::new());
        let _ = self.written.recv_timeout(LAST_WRITE);
    }
}

// === impl Writer ===

impl<W: Write> Writer<W> {
    fn run(&mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(line) = self.next() {
            batch.extend_from_slice(&line);
            while batch.len() < BATCH {
                match self.lines.try_recv() {
                    Ok(line) => batch.extend_from_slice(&line),
                    Err(_) => break,
                }
            }
            self.write(&batch);
            batch.clear();
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let report = self.report(dropped);
                // Where even this cannot be written, the count has to wait for the next chance.
                if !self.write(&report) {
                    self.dropped.fetch_add(dropped - 1, Ordering::Relaxed);
                }
            }
        }
    }

    /// The next line; none when the log has ended and all is written.
    fn next(&self) -> Option<Vec<u8>> {
        match self.lines.try_recv() {
            Ok(line) => Some(line),
            Err(TryRecvError::Empty) if !self.ending.load(Ordering::SeqCst) => {
                self.lines.recv().ok()
            }
            Err(_) => None,
        }
    }

    fn report(&self, dropped: u64) -> Vec<u8> {
        self.form.line(
            &slog::record!(
                Level::Warning,
                Event::LogDropped.name(),
                &format_args!(
                    "{dropped} lines of the log were dropped: its reader was too slow or gone"
                ),
                slog::b!("count" => dropped)
            ),
            &OwnedKVList::from(slog::o!()),
        )
    }

    /// Writes whole lines; those that could not be written count as dropped. True if all could.
    fn write(&mut self, lines: &[u8]) -> bool {
        if self.broken && write_all(&mut self.sink, b"\n").is_ok() {
            self.broken = false;
        }
        let Err(written) = write_all(&mut self.sink, lines) else { return true };
        let (done, lost) = lines.split_at(written);
        self.broken |= done.last().is_some_and(|byte| *byte != b'\n');
        let lost = lost.iter().filter(|byte| **byte == b'\n').count();
        self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        false
    }
}

// === helpers ===

/// Like `Write::write_all`, but patient with a descriptor somebody else made non-blocking, and it tells
/// how much went out before an error.
fn write_all(sink: &mut impl Write, bytes: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while written < bytes.len() {
        match sink.write(&bytes[written..]) {
            Ok(0) => return Err(written),
            Ok(count) => written += count,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => thread::park_timeout(RETRY),
                _ => return Err(written),
            },
        }
    }
    // A failure to flush is a failure to write of a sink with a buffer: it will show again.
    let _: io::Result<()> = sink.flush();
    Ok(())
}

// === constants ===

/// How long the end of the program waits for the last lines to be written.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// How much is written at once when lines are queued.
const BATCH: usize = 64 * 1024;

/// How long to wait before a full non-blocking descriptor is tried again.
const RETRY: Duration = Duration::from_millis(5);
