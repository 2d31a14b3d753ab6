//! What waits for a narrow link leaves at once when the link is wide again: as when a queue's limit is taken away.

use super::link::LinkId;
use super::tcp::{ConnectionId, LOST, Side};
use super::{Cx, NetEvent, Network};
use crate::world::FaultId;

impl Network {
    /// Ends a fault of links; answers how many segments and datagrams it affected.
    pub(super) fn heal(&mut self, cx: &mut Cx<'_>, fault: FaultId) -> u64 {
        let (affected, mut widened) = self.links.heal(fault, cx.now);
        // Where another queue goes on, what stands in both waits for that one.
        widened.retain(|link| !self.links.is_narrow(*link));
        if !widened.is_empty() {
            self.release_streams(cx, &widened);
            self.release_datagrams(cx, &widened);
        }
        affected
    }

    fn release_streams(&mut self, cx: &mut Cx<'_>, widened: &[LinkId]) {
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for (id, side) in all.into_iter().flat_map(|id| [(id, Side::Opener), (id, Side::Acceptor)]) {
            let connection = &mut self.connections[id];
            if !widened.contains(&connection.ends[side].link) {
                continue;
            }
            let stream = &mut connection.streams[side];
            let mut before = 0;
            for segment in stream.flight.iter_mut().filter(|segment| segment.at != LOST) {
                segment.at = (segment.at - segment.leaves.saturating_sub(cx.now)).max(before);
                (segment.leaves, before) = (0, segment.at);
            }
            stream.not_before = before.max(cx.now);
            cx.cancel(&mut stream.arrival);
            self.tcp_schedule_arrival(cx, id, side);
        }
        for link in widened {
            if let Some(turn) = self.links.set_turn(*link, None) {
                cx.timers.cancel(turn);
                self.tcp_turns(cx, *link);
            }
        }
    }

    fn release_datagrams(&mut self, cx: &mut Cx<'_>, widened: &[LinkId]) {
        let waiting = self.travelling.iter().filter_map(|(id, travelling)| Some((id, travelling.way?)));
        let mut waiting: Vec<_> =
            waiting.filter(|(_, way)| widened.contains(&way.link) && way.leaves > cx.now).collect();
        // In the order in which they stand in the queue.
        waiting.sort_by_key(|(_, way)| (way.leaves, way.arrives));
        for (id, way) in waiting {
            let arrives = way.arrives - (way.leaves - cx.now);
            cx.timers.cancel(way.key);
            let key = cx.schedule(arrives, NetEvent::Datagram(id));
            if let Some(travelling) = self.travelling.get_mut(id) {
                travelling.way = Some(super::udp::Way { arrives, key, leaves: 0, ..way });
            }
        }
    }
}
