//! What a client may send before anything is tagged. What is accepted, is written as it was read.

use understudy::protocol::{
    startup::{Opening, Startup},
    write,
};

pub fn run(data: &[u8]) {
    if let Some((word, packet)) = data.split_first_chunk::<4>() {
        let _ = Opening::length(*word);
        let _ = Opening::parse(packet);
    }
    let Ok(Opening::Startup(startup)) = Opening::parse(data) else { return };
    assert!(startup.user.len() <= 63 && startup.database.len() <= 63);
    if startup.protocol_options.is_empty() {
        let mut written = Vec::new();
        write::startup(&mut written, startup.version, &startup);
        let again: Result<Opening, _> = Opening::parse(&written[4..]);
        assert_eq!(again, Ok(Opening::Startup(Startup { ..startup })));
    }
}
