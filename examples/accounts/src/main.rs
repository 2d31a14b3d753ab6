//! The `accounts` program. Everything is in the library, so that a test can run the same `main`.

fn main() -> anyhow::Result<()> {
    accounts::main()
}
