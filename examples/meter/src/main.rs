//! The program.

fn main() -> std::io::Result<()> {
    meter::main()
}
