//! The server as a program.

fn main() -> mini_redis::Result<()> {
    redis_workload::server_main()
}
