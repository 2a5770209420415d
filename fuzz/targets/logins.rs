//! Logins on both legs, with a peer that says anything. The first byte chooses who we are and what we know;
//! the rest is cut into messages at each byte 0xFF.

use understudy::{
    auth::{ClientLogin, Credentials, MockSalts, NodeLogin, Step, StoredSecret},
    conf::settings::AuthMethod,
};

const SECRETS: [&str; 3] = [
    "a clear password",
    "md53175bce1d3201d16594cebf9d7eb3f9d",
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
];

pub fn run(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let secret = SECRETS
        .get(usize::from(choice >> 4) % 4)
        .and_then(|secret| StoredSecret::parse(secret).ok());
    let messages = rest.split(|&byte| byte == 0xFF);
    if choice & 1 == 0 {
        towards_client(choice, secret.as_ref(), messages);
    } else {
        towards_node(secret, messages);
    }
}

fn towards_client<'m>(
    choice: u8,
    secret: Option<&StoredSecret>,
    messages: impl Iterator<Item = &'m [u8]>,
) {
    let method = if choice & 2 == 0 { AuthMethod::ScramSha256 } else { AuthMethod::Md5 };
    let salts = MockSalts::new([7; 32]);
    let Ok((mut login, _)) = ClientLogin::start(method, "joe", secret, &salts) else { return };
    for message in messages {
        match login.on_message(message) {
            Ok(Step::Send(_)) => {}
            // A fuzzer does not know a password: nobody gets in by chance.
            Ok(Step::Granted { .. }) => panic!("let in"),
            Err(_) => return,
        }
    }
}

fn towards_node<'m>(secret: Option<StoredSecret>, messages: impl Iterator<Item = &'m [u8]>) {
    let credentials = secret.and_then(|secret| match secret {
        StoredSecret::Clear(password) => Some(Credentials::Clear(password)),
        StoredSecret::Md5(hash) => Some(Credentials::Md5(hash)),
        StoredSecret::Scram(_) => None,
    });
    let mut login = NodeLogin::new("joe", credentials.as_ref());
    for message in messages {
        let Some((code, rest)) = message.split_first_chunk::<4>() else { return };
        if login.on_authentication(i32::from_be_bytes(*code), rest).is_err() {
            return;
        }
    }
}
