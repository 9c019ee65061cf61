//! How a service joins a Daybook: it connects, and sees to it that the streams exist.

use crate::connection::{BrokerOptions, ConnectError, Connection, StreamError, WaitLog, connect};
use crate::streams;
use std::error::Error;

/// The service that keeps the bounds of streams as it is told: one, so that services with different options do not change them
/// in turn.
const KEEPER: &str = "ingest";

/// Connects and makes sure that the streams exist. Waits for the broker as long as it takes, and says why.
///
/// # Errors
/// When the options or files are wrong, the broker is too old, or the streams belong to a Daybook with another number of
/// partitions: what trying again does not heal.
pub async fn connect_service(options: &BrokerOptions, name: &str) -> Result<Connection, ConnectError> {
    let mut waiting = WaitLog::default();
    loop {
        let error = match try_service(options, name).await {
            Ok(connection) => return Ok(connection),
            Err(error) if !error.heals() => return Err(error),
            Err(error) => error,
        };
        if waiting.is_news(&error.to_string(), tokio::time::Instant::now()) {
            tracing::warn!(error = &error as &dyn Error, "waiting for the broker");
        }
        tokio::time::sleep(waiting.next_pause()).await;
    }
}

async fn try_service(options: &BrokerOptions, name: &str) -> Result<Connection, ConnectError> {
    let connection = connect(options, name).await?;
    if !options.nats_allow_old {
        connection.check_version()?;
    }
    match streams::ensure(&connection, options).await {
        Ok(()) => {}
        Err(StreamError::Create { name, source }) => {
            let reason = connection.why_not_made(&source);
            return Err(reason.unwrap_or_else(|| StreamError::Create { name, source }.into()));
        }
        Err(error) => return Err(error.into()),
    }
    if name == KEEPER
        && let Err(error) = streams::update(&connection, options).await
    {
        // The streams can be used as they are.
        tracing::warn!(error = &error as &dyn Error, "the bounds of the streams stay as they were");
    }
    if !options.nats_allow_old {
        connection.watch_versions();
    }
    Ok(connection)
}
