//! Who may come in.

use std::net::SocketAddr;

use contract::{Gate, Login, Ticket, Verdict};

use crate::Fleet;

impl Gate for Fleet {
    fn admit(&self, login: &Login, remote: SocketAddr, ticket: Ticket) -> Option<Verdict> {
        let _ = (login, remote, ticket);
        todo!()
    }
}
