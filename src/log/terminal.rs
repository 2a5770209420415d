//! A line for people: slog-term's, with the event in front of the sentence.

use std::{
    cell::RefCell,
    io::{self, Write},
};

use slog::{Level, OwnedKVList, Record};
use slog_term::{Decorator, FullFormat, RecordDecorator, ThreadSafeTimestampFn, timestamp_local};

/// The line for a record, with its end.
pub(super) fn line(record: &Record<'_>, context: &OwnedKVList, colours: bool) -> Vec<u8> {
    let text = RefCell::new(Vec::with_capacity(160));
    let format = FullFormat::new(Page { text: &text, colours })
        .use_custom_timestamp(timestamp_local)
        .use_custom_header_print(header)
        .use_original_order()
        .build();
    // Writing to memory does not fail; a field that does not serialize shortens the line.
    let _ = slog::Drain::log(&format, record, context);
    drop(format);
    let mut text = text.into_inner();
    // slog-term's own line end came through the filter as the start of a continuation.
    text.truncate(text.trim_ascii_end().len());
    if colours {
        text.extend_from_slice(RESET.as_bytes());
    }
    text.push(b'\n');
    text
}

/// The text of one line.
#[derive(Clone, Copy)]
struct Page<'a> {
    text: &'a RefCell<Vec<u8>>,
    colours: bool,
}

/// The same, while a record of this level is written.
struct Pen<'a> {
    page: Page<'a>,
    level: Level,
}

// === impl Page ===

impl Decorator for Page<'_> {
    fn with_record<F>(&self, record: &Record<'_>, _: &OwnedKVList, write: F) -> io::Result<()>
    where
        F: FnOnce(&mut dyn RecordDecorator) -> io::Result<()>,
    {
        write(&mut Pen { page: *self, level: record.level() })
    }
}

// === impl Pen ===

impl Pen<'_> {
    fn colour(&self, code: &str) -> io::Result<()> {
        if self.page.colours {
            self.page.text.borrow_mut().extend_from_slice(code.as_bytes());
        }
        Ok(())
    }
}

impl Write for Pen<'_> {
    /// Control characters are shown, not obeyed, and a line end inside a value starts an indented line:
    /// a client chooses its user name, and must not paint the operator's terminal or forge a line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.page.text.borrow_mut();
        for letter in String::from_utf8_lossy(bytes).chars() {
            match letter {
                '\n' => text.extend_from_slice(b"\n    "),
                letter if letter.is_control() => {
                    text.extend_from_slice(letter.escape_default().to_string().as_bytes());
                }
                letter => text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RecordDecorator for Pen<'_> {
    fn reset(&mut self) -> io::Result<()> {
        self.colour(RESET)
    }

    fn start_timestamp(&mut self) -> io::Result<()> {
        self.colour(FAINT)
    }

    fn start_level(&mut self) -> io::Result<()> {
        self.reset()?;
        self.colour(match self.level {
            Level::Critical | Level::Error => RED,
            Level::Warning => YELLOW,
            Level::Info => GREEN,
            Level::Debug | Level::Trace => FAINT,
        })
    }

    fn start_msg(&mut self) -> io::Result<()> {
        self.reset()?;
        self.colour(BOLD)
    }

    fn start_key(&mut self) -> io::Result<()> {
        self.colour(FAINT)
    }
}

// === helpers ===

/// Time, level and event; then slog-term writes the fields.
fn header(
    timestamp: &dyn ThreadSafeTimestampFn<Output = io::Result<()>>,
    mut line: &mut dyn RecordDecorator,
    record: &Record<'_>,
    _with_file: bool,
) -> io::Result<bool> {
    line.start_timestamp()?;
    timestamp(&mut line)?;
    line.start_whitespace()?;
    line.start_level()?;
    write!(line, " {} ", record.level().as_short_str())?;
    line.start_whitespace()?;
    write!(line, "{}: ", record.tag())?;
    line.start_msg()?;
    write!(line, "{}", record.msg())?;
    line.reset()?;
    Ok(true)
}

// === constants ===

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const FAINT: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";

// === tests ===

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(record: &Record<'_>) -> String {
        let line = line(record, &OwnedKVList::from(slog::o!("worker" => 1)), false);
        let line = String::from_utf8(line).unwrap();
        // The date and time are in local time: "Nov 22 11:00:00.000".
        line[20..].to_owned()
    }

    #[test]
    fn a_line_reads_as_a_sentence_with_fields() {
        let line = plain(&slog::record!(
            Level::Info,
            "session_start",
            &format_args!("client logged in"),
            slog::b!("user" => "app", "database" => "shop")
        ));
        assert_eq!(
            line,
            "INFO session_start: client logged in, worker: 1, user: app, database: shop\n"
        );
    }

    #[test]
    fn a_value_cannot_paint_the_terminal_or_forge_a_line() {
        let line = plain(&slog::record!(
            Level::Warning,
            "login_failed",
            &format_args!("no"),
            slog::b!("user" => "\x1b[31m\u{9b}a\nNov 22 ERRO panic: forged\r\n")
        ));
        assert_eq!(
            line,
            "WARN login_failed: no, worker: 1, user: \\u{1b}[31m\\u{9b}a\n    Nov 22 ERRO panic: forged\\r\n"
        );
    }

    #[test]
    fn colours_end_with_the_line() {
        let line = line(
            &slog::record!(Level::Error, "e", &format_args!("m"), slog::b!()),
            &OwnedKVList::from(slog::o!()),
            true,
        );
        assert!(line.ends_with(b"\x1b[0m\n"));
        assert!(line.windows(RED.len()).any(|part| part == RED.as_bytes()));
    }
}
