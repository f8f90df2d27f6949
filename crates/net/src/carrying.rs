//! The end of a turn: carries out what the floor has left to be done. Deliveries first, then what goes to
//! other threads, then what becomes of sockets.

use hub::Mail;

use crate::poller::For;
use crate::posts::{Arrival, Coming, Post};
use crate::shard::Shard;
use crate::sockets::Leaving;

impl Shard {
    /// Leaves nothing that could be done now.
    pub fn carry_out(&mut self) {
        self.floor.flush(&mut self.sockets);
        self.note_ended();
        self.tell_others();
        if let Some(notes) = self.floor.batch() {
            self.house.vault.keep(notes, self.answer(Mail::Kept));
        }
        for (place, session) in std::mem::take(self.floor.loads()) {
            self.house.vault.queue(session, self.answer(move |rows| Mail::Came(place, rows)));
        }
        self.look_after_sockets();
    }

    /// Tells of each connection that ended.
    fn note_ended(&mut self) {
        for hub::Ended { conn, protocol, remote, close } in self.floor.ended().drain(..) {
            match self.dialled.remove(&conn) {
                Some(tell) => {
                    self.ends.count(protocol, close.fault);
                    let _ = tell.send(close);
                }
                None => self.ends.tell(protocol, remote, &close),
            }
        }
    }

    /// Events for the platform, messages for all other shards, mail for one of them.
    fn tell_others(&mut self) {
        if !self.floor.events().is_empty() {
            self.house.bus.emit(self.floor.events());
        }
        // The list goes back and forth, so that its memory is used again.
        self.outgoing.append(self.floor.broadcast());
        if !self.outgoing.is_empty() {
            for (_, inbox) in self.shards.inboxes.iter().enumerate().filter(|(shard, _)| *shard != usize::from(self.index)) {
                inbox.post(self.outgoing.iter().map(|one| Post::Mail(Mail::Message(one.clone()))));
            }
            self.outgoing.clear();
        }
        for (shard, mail) in self.floor.posts().drain(..) {
            self.shards.post(usize::from(shard), Post::Mail(mail));
        }
    }

    fn look_after_sockets(&mut self) {
        for conn in std::mem::take(&mut self.sockets.clogged) {
            self.leisure.forget(conn);
            self.watch(conn, For::Both);
        }
        for closing in std::mem::take(&mut self.sockets.closing) {
            self.closings.begin(closing, self.now, &self.poller);
        }
        for Leaving { to, moving, stream, baggage } in std::mem::take(&mut self.sockets.leaving) {
            self.poller.remove(&stream);
            self.ends.stats.handed_over += 1;
            let arrival = Arrival { how: Coming::Moving(moving), stream, baggage };
            self.shards.post(usize::from(to), Post::Arrival(Box::new(arrival)));
        }
    }
}
