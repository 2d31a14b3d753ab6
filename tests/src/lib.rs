//! What crosses rooms, seen from outside. Everything is in `tests/`.
