//! The newest events of a stream, each until every listener has it or is too far behind. Pure.

use bytes::Bytes;
use std::collections::VecDeque;

/// Events that a listener may be behind. One that is further behind is dropped, and told so.
const MAX_BEHIND: usize = 256;
/// Bytes that a listener may be behind. The newest event is kept however long it is.
const MAX_BEHIND_BYTES: usize = 2 << 20;

/// Events and how many listeners have yet to read each.
#[derive(Default)]
pub(super) struct Ring {
    /// The position of the first event that is kept.
    first: u64,
    kept: VecDeque<Kept>,
    bytes: usize,
    listeners: usize,
}

struct Kept {
    event: Bytes,
    /// Listeners that have not read it. Whoever reads an event has read those before, so this grows from front to back.
    waiting: usize,
}

/// What a listener finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RingRead {
    Event(Bytes),
    /// Nothing yet.
    Nothing,
    /// So many events were dropped before the listener read them.
    Missed(u64),
}

impl Ring {
    /// Adds a listener; returns its position: that of the next event.
    pub(super) fn join(&mut self) -> u64 {
        self.listeners += 1;
        self.end()
    }

    /// Takes out the listener at `position`.
    pub(super) fn leave(&mut self, position: u64) {
        self.listeners = self.listeners.saturating_sub(1);
        let read = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for kept in self.kept.iter_mut().skip(read) {
            kept.waiting = kept.waiting.saturating_sub(1);
        }
        self.forget_read();
    }

    /// Adds an event for all listeners. Drops the oldest ones where too much is kept.
    pub(super) fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.kept.push_back(Kept { event, waiting: self.listeners });
        self.forget_read();
        while self.kept.len() > MAX_BEHIND || (self.bytes > MAX_BEHIND_BYTES && self.kept.len() > 1) {
            self.drop_first();
        }
    }

    /// Reads the event at `position`, and moves the position behind it.
    pub(super) fn read(&mut self, position: &mut u64) -> RingRead {
        let Some(behind) = position.checked_sub(self.first) else { return RingRead::Missed(self.first - *position) };
        let kept = usize::try_from(behind).ok().and_then(|behind| self.kept.get_mut(behind));
        let Some(kept) = kept else { return RingRead::Nothing };
        kept.waiting = kept.waiting.saturating_sub(1);
        let event = kept.event.clone();
        *position += 1;
        self.forget_read();
        RingRead::Event(event)
    }

    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn forget_read(&mut self) {
        while self.kept.front().is_some_and(|kept| kept.waiting == 0) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.bytes -= kept.event.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> Bytes {
        vec![b'x'; bytes].into()
    }

    #[test]
    fn each_listener_reads_each_event_once_and_nothing_is_kept_behind_them() {
        let mut ring = Ring::default();
        ring.push(event(1));
        assert!(ring.kept.is_empty(), "nobody listens");
        let (mut one, mut other) = (ring.join(), ring.join());
        ring.push(event(2));
        let mut late = ring.join();
        ring.push(event(3));
        for position in [&mut one, &mut other] {
            assert_eq!(ring.read(position), RingRead::Event(event(2)));
            assert_eq!(ring.read(position), RingRead::Event(event(3)));
            assert_eq!(ring.read(position), RingRead::Nothing);
        }
        assert_eq!(ring.bytes, 3);
        assert_eq!((ring.read(&mut late), ring.bytes), (RingRead::Event(event(3)), 0));
        ring.push(event(4));
        ring.read(&mut one);
        ring.leave(other);
        assert_eq!(ring.kept.len(), 1);
        ring.leave(late);
        assert!(ring.kept.is_empty() && ring.bytes == 0);
        ring.leave(one);
        assert_eq!(ring.listeners, 0);
    }

    #[test]
    fn a_listener_is_at_most_so_many_events_and_bytes_behind() {
        let mut ring = Ring::default();
        let (mut slow, mut quick) = (ring.join(), ring.join());
        for _ in 0..8 {
            ring.push(event(768 << 10));
            assert!(ring.bytes <= MAX_BEHIND_BYTES);
            assert!(matches!(ring.read(&mut quick), RingRead::Event(_)));
        }
        assert_eq!(ring.read(&mut slow), RingRead::Missed(6));
        ring.leave(slow);
        assert!(ring.kept.is_empty());
        slow = ring.join();
        for _ in 0..MAX_BEHIND + 1 {
            ring.push(event(1));
        }
        assert_eq!((ring.read(&mut slow), ring.kept.len()), (RingRead::Missed(1), MAX_BEHIND));
        ring.push(event(MAX_BEHIND_BYTES + 1));
        assert_eq!(ring.kept.len(), 1, "the newest is kept");
    }
}
