//! What a process says on standard error beside its log: progress, why it ends, panics. It has the form of the log, so that
//! a log in JSON is JSON from the first line to the last.

use super::json::{causes, error_fields, line_of};
use crate::config::LogFormat;
use serde_json::json;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this process writes JSON to standard error.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Sets the form of what this process says, panics included.
pub fn use_format(format: LogFormat) {
    static HOOK: Once = Once::new();
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    if format == LogFormat::Json {
        HOOK.call_once(|| {
            let in_text = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| match is_json() {
                true => write(&panic_line(panic)),
                false => in_text(panic),
            }));
        });
    }
}

/// Says something to the person who started the process, whatever the log's filter is.
pub fn say(text: &str) {
    match is_json() {
        true => write(&line_of("INFO", "daybook", text.trim(), Vec::new())),
        false => write(&format!("{text}\n")),
    }
}

/// Says why the process `name` ends, with all causes, and returns its exit code.
pub fn fail(name: &str, error: &(dyn Error + 'static)) -> ExitCode {
    if is_json() {
        write(&line_of("ERROR", name, "this process cannot go on and ends", error_fields("error", error)));
        return ExitCode::FAILURE;
    }
    let mut text = format!("{name}: {error}\n");
    for cause in causes(error) {
        text += &format!("  because: {cause}\n");
    }
    write(&text);
    ExitCode::FAILURE
}

/// Ends the process `name` because of its arguments: with help, which goes to standard output, or with what is wrong.
pub fn exit(name: &str, error: &clap::Error) -> ! {
    if !is_json() || !error.use_stderr() {
        error.exit();
    }
    let why = json!(error.render().to_string().trim());
    write(&line_of("ERROR", name, "the arguments cannot be used", vec![("error".to_owned(), why)]));
    std::process::exit(error.exit_code())
}

fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Writes in one piece, so that lines of two threads do not mix. What cannot be written is lost: nobody could be told.
fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn panic_line(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let why = text.unwrap_or("a value that is no text");
    let mut more = vec![("error".to_owned(), json!(why))];
    more.extend(panic.location().map(|location| ("location".to_owned(), json!(location.to_string()))));
    more.push(("thread".to_owned(), json!(std::thread::current().name())));
    // Only when RUST_BACKTRACE asks for it, as in text.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        more.push(("backtrace".to_owned(), json!(backtrace.to_string())));
    }
    line_of("ERROR", "panic", "a thread panicked", more)
}
