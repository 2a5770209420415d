//! Free TCP ports on 127.0.0.1 that stay ours.
//!
//! A port of the kernel's own choosing may be given to somebody's outgoing connection while its node
//! is down, so ports are taken from below that range. A UDP socket bound to the same number is the
//! reservation: other clusters see it, and it vanishes with the process.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::lab::LabError;

/// A TCP port nobody listens on, reserved among the clusters of this machine.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) port: u16,
    _reservation: UdpSocket,
}

/// True when nobody listens on the port.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// As many free ports as asked for.
pub(crate) fn reserve(count: usize) -> Result<Vec<Reserved>, LabError> {
    let start = getrandom::u32().map_or(0, |r| (r % u32::from(SPAN)) as u16);
    let ports: Vec<_> = (0..SPAN)
        .map(|step| FIRST + (start + step) % SPAN)
        .filter_map(|port| {
            let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            is_free(port).then_some(Reserved { port, _reservation: reservation })
        })
        .take(count)
        .collect();
    if ports.len() < count {
        return Err(LabError::Refused(format!(
            "fewer than {count} ports between {FIRST} and {} are free",
            FIRST + SPAN - 1
        )));
    }
    Ok(ports)
}

/// The given number of free ports, the first ones from `first` upwards.
pub(crate) fn from(first: u16, count: usize) -> Result<Vec<u16>, LabError> {
    let ports: Vec<u16> = (first..=u16::MAX).filter(|p| is_free(*p)).take(count).collect();
    if ports.len() < count {
        return Err(LabError::Refused(format!(
            "fewer than {count} ports from {first} up are free"
        )));
    }
    Ok(ports)
}

/// Linux hands out 32768 and up to outgoing connections.
const FIRST: u16 = 20_000;
const SPAN: u16 = 12_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_free_and_differ() {
        let one = reserve(20).unwrap();
        let two = reserve(20).unwrap();
        assert!(one.iter().all(|a| two.iter().all(|b| a.port != b.port)));
        assert!(one.iter().chain(&two).all(|r| is_free(r.port)));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert!(!from(taken, 2).unwrap().contains(&taken));
    }
}
