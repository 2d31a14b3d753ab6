//! What waits for a narrow link leaves at once when the link is wide again: as when a queue's limit is taken away.

use super::link::LinkId;
use super::tcp::{ConnectionId, LOST, Side};
use super::{Cx, NetEvent, Network};
use crate::world::FaultId;

impl Network {
    /// Ends a fault of links; answers how many segments and datagrams it affected.
    pub(super) fn heal(&mut self, cx: &mut Cx<'_>, fault: FaultId) -> u64 {
        let (affected, widened) = self.links.heal(fault, cx.now);
        if !widened.is_empty() {
            self.release_streams(cx, &widened);
            self.release_datagrams(cx, &widened);
        }
        affected
    }

    fn release_streams(&mut self, cx: &mut Cx<'_>, widened: &[LinkId]) {
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for (id, side) in all.into_iter().flat_map(|id| [(id, Side::Opener), (id, Side::Acceptor)]) {
            let link = self.connections[id].ends[side].link;
            if !widened.contains(&link) {
                continue;
            }
            let at = cx.now + self.links.one_way_ns(link, cx.now);
            let connection = &mut self.connections[id];
            let (end, stream) = (&mut connection.ends[side], &mut connection.streams[side]);
            stream.flight.iter_mut().filter(|segment| segment.at != LOST && segment.at > at).for_each(|s| s.at = at);
            stream.not_before = stream.not_before.min(at);
            cx.cancel(&mut stream.arrival);
            if end.paced.is_some() {
                cx.cancel(&mut end.paced);
                end.paced = Some(cx.schedule(cx.now, NetEvent::Pace(id, side)));
            }
            self.tcp_schedule_arrival(cx, id, side);
        }
    }

    fn release_datagrams(&mut self, cx: &mut Cx<'_>, widened: &[LinkId]) {
        let waiting = self.travelling.iter().filter_map(|(id, travelling)| Some((id, travelling.way?)));
        let waiting: Vec<_> = waiting.filter(|(_, way)| widened.contains(&way.link)).collect();
        for (id, way) in waiting {
            let at = cx.now + self.links.one_way_ns(way.link, cx.now);
            if way.arrives > at {
                cx.timers.cancel(way.key);
                let key = cx.schedule(at, NetEvent::Datagram(id));
                if let Some(travelling) = self.travelling.get_mut(id) {
                    travelling.way = Some(super::udp::Way { arrives: at, key, ..way });
                }
            }
        }
    }
}
