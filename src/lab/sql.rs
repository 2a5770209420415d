//! A statement on a server and its answer as text, for code that is not asynchronous.
//!
//! One connection per question: the lab asks rarely, and a connection kept would be one more thing
//! that a killed node leaves behind.

use std::{thread, time::Duration};

use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

/// The columns of a row; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Runs the statements and returns all rows. An answer later than `limit` is an error.
pub(crate) fn query(config: &Config, sql: &str, limit: Duration) -> Result<Vec<Row>, String> {
    // A thread of its own, so that this works inside somebody's asynchronous runtime, too.
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|e| e.to_string())?;
                let answer = runtime.block_on(async {
                    tokio::time::timeout(limit, ask(config, sql))
                        .await
                        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
                });
                runtime.shutdown_background();
                answer
            })
            .join()
            .unwrap_or_else(|_| Err("the query panicked".to_owned()))
    })
}

async fn ask(config: &Config, sql: &str) -> Result<Vec<Row>, String> {
    let (client, connection) = config.connect(NoTls).await.map_err(|e| words(&e))?;
    tokio::spawn(connection);
    let messages = client.simple_query(sql).await.map_err(|e| words(&e))?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect())
}

/// What the server said, or else what happened on the way to it.
fn words(error: &tokio_postgres::Error) -> String {
    use std::error::Error;

    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{}: {} ({})", db.severity(), db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
