//! Ctrl-C, SIGTERM and a closed terminal become a flag that every wait looks at.

use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::lab::{LabError, spec::Cancel};

/// From now on these signals set the flag instead of ending the process.
pub(crate) fn watch() -> Result<Cancel, LabError> {
    let cancel = Cancel::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(refused)?;
    let signals = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
    };
    let [interrupt, terminate, hangup] = signals;
    let (mut interrupt, mut terminate, mut hangup) =
        (interrupt.map_err(refused)?, terminate.map_err(refused)?, hangup.map_err(refused)?);
    let flag = cancel.clone();
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                flag.set();
            }
        });
    });
    Ok(cancel)
}

fn refused(error: std::io::Error) -> LabError {
    LabError::Refused(format!("cannot watch for signals: {error}"))
}
