//! Every call on every kind of descriptor.
//!
//! For each kind there is one script: it makes a fresh one for each call of [`operations`], makes the call, and closes
//! everything again, so that one answer does not depend on another. [`paths`] does the same with paths.

mod objects;
mod on_files;
mod operations;
mod paths;

use crate::compare::{Weathers, check};
use crate::transcript::Transcript;
use objects::Object;

/// Runs every operation on one kind of descriptor.
fn every_call(object: &Object, t: &'static Transcript) {
    t.expect_random(object.name == "dev_urandom");
    for (name, operation) in operations::all() {
        t.about("");
        t.close_all();
        t.forget_names();
        t.about("  making: ");
        let fd = (object.make)(t);
        t.about(&format!("{name}: "));
        operation(t, fd);
    }
}

/// Compares what both kernels say of one kind.
fn cell(object: &Object) {
    check(&format!("matrix::{}", object.name), Weathers::Calm, &|t| every_call(object, t));
}

macro_rules! kinds {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            cell(objects::OBJECTS.iter().find(|o| o.name == stringify!($name)).expect("an object of that name"));
        }
    )* };
}

kinds! {
    closed negative console standard_input
    pipe_reader_empty pipe_reader_with_bytes pipe_reader_alone pipe_writer pipe_writer_full pipe_writer_alone
    eventfd_zero eventfd_three eventfd_full timerfd_unarmed timerfd_expired epoll_empty epoll_ready
    tcp_unbound tcp_bound tcp_listening tcp_listening_with_a_connection tcp_connected tcp_with_bytes
    tcp_peer_half_closed tcp_half_closed tcp_both_half_closed tcp_reset tcp_refused tcp6_unbound tcp6_connected
    udp_unbound udp_bound udp_connected udp_with_datagrams udp_refused udp6_unbound udp6_connected
    unix_stream_unbound unix_stream_bound unix_stream_listening unix_stream_pair unix_stream_with_bytes
    unix_stream_peer_gone unix_dgram_unbound unix_dgram_bound unix_dgram_pair unix_dgram_with_messages
    unix_dgram_peer_gone unix_seqpacket_pair
    netlink_unbound netlink_bound netlink_with_answers
    regular_file dev_null dev_zero dev_urandom directory
    own_file own_file_read_only own_file_write_only own_file_append own_file_deleted own_file_unnamed own_file_path_only
    own_file_in_a_closed_directory own_directory own_directory_removed own_directory_path_only own_link_path_only
    inotify_empty inotify_with_events
}

/// Every kind is in the list of tests above.
#[test]
fn no_kind_is_forgotten() {
    let list = include_str!("mod.rs");
    for object in objects::OBJECTS {
        assert!(list.split_whitespace().any(|word| word == object.name), "{} is in no test", object.name);
    }
}
