//! The messages, as `protoc` would have generated them from
//!
//! ```protobuf
//! service Counter {
//!   rpc Add(Request) returns (Total);
//!   rpc Watch(Request) returns (stream Tick);
//! }
//! message Request { string client = 1; uint64 amount = 2; }
//! message Total { uint64 total = 1; string fingerprint = 2; }
//! message Tick { uint64 number = 1; uint64 total = 2; }
//! ```

/// What a client adds, or how many ticks it wants to see.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Who asks.
    #[prost(string, tag = "1")]
    pub client: String,
    /// How much.
    #[prost(uint64, tag = "2")]
    pub amount: u64,
}

/// The counter after an addition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Total {
    /// The sum of all additions so far.
    #[prost(uint64, tag = "1")]
    pub total: u64,
    /// The server's.
    #[prost(string, tag = "2")]
    pub fingerprint: String,
}

/// The counter from time to time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tick {
    /// Counts from zero.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The sum of all additions so far.
    #[prost(uint64, tag = "2")]
    pub total: u64,
}
