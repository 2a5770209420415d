//! CertificateKeeper: reads the certificate files again when SIGHUP asks for it.
//!
//! Connections that exist are left alone. A file that will not do changes nothing but the log. Which
//! files they are is part of the configuration, and that is not read again.

use std::{io, sync::Arc};

use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use slog::Logger;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    conf::{
        Settings,
        settings::{ClientTlsMode, TlsMode},
    },
    event,
    net::Tls,
};

/// The actor.
#[derive(Debug)]
pub struct CertificateKeeper {
    settings: Arc<Settings>,
    log: Logger,
    tls: Tls,
}

/// SIGHUP came.
#[derive(Debug)]
struct HungUp;

// === impl CertificateKeeper ===

impl CertificateKeeper {
    /// Keeps `tls` as new as the files that `settings` name.
    #[must_use]
    pub fn new(settings: Arc<Settings>, log: Logger, tls: Tls) -> Self {
        Self { settings, log, tls }
    }

    fn listen(ctx: &mut Context<Self>) -> io::Result<()> {
        let mut signals = signal(SignalKind::hangup())?;
        ctx.add_stream(futures::stream::poll_fn(move |cx| {
            signals.poll_recv(cx).map(|come| come.map(|()| HungUp))
        }));
        Ok(())
    }

    fn has_files(&self) -> bool {
        let Settings { client_tls, server_tls, .. } = &*self.settings;
        client_tls.mode != ClientTlsMode::Disable
            || server_tls.mode != TlsMode::Disable
                && (server_tls.identity.is_some() || server_tls.ca_file.is_some())
    }
}

impl Actor for CertificateKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Err(error) = Self::listen(ctx) {
            event!(
                self.log,
                Error,
                CertificatesRefused,
                "SIGHUP cannot be heard, certificates will not be read again: {}",
                error
            );
            ctx.stop();
        }
    }
}

impl StreamHandler<HungUp> for CertificateKeeper {
    fn handle(&mut self, _: HungUp, _: &mut Self::Context) {
        if !self.has_files() {
            event!(
                self.log,
                Info,
                CertificatesReloaded,
                "SIGHUP received: there are no certificate files to read again"
            );
            return;
        }
        match self.tls.reload(&self.settings) {
            Ok(()) => event!(
                self.log,
                Info,
                CertificatesReloaded,
                "SIGHUP received: new connections use the certificates as they are now"
            ),
            Err(flaws) => {
                for flaw in flaws {
                    event!(
                        self.log,
                        Error,
                        CertificatesRefused,
                        "SIGHUP received, and the former certificates stay in use: {}",
                        flaw
                    );
                }
            }
        }
    }
}
